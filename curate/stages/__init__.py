"""The stages as Beam wiring, one module a stage, in flow order in `curate.flow`."""
