"""Taking pairs out of a run that stands."""
