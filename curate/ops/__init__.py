"""Pure functions over Arrow and NumPy arrays: no Beam, no knowledge of runs."""
