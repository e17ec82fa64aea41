"""Columns that are made of stored embeddings."""
