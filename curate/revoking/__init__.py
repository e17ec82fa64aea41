"""Taking pairs out of a run that is done."""
