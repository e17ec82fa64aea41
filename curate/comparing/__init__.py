"""Two runs side by side: what each keeps, and what became of the same pairs in the other."""
