"""Semantic duplicates: pairs whose embeddings say the same."""
