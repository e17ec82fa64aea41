"""What stages count of their parts, so that nobody reads all parts again to tell of a run."""
