"""Columns that are made of stored embeddings, each in a folder of its own."""
