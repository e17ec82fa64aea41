"""Numbers that models give a pair, and those that follow from stored embeddings."""
