"""The builder of entry lists: sources, counts, PMI, limits."""
