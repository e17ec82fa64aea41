"""The report of a run: numbers, figures, a page for people and cards for machines."""
