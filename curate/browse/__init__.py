"""A local page over runs: their parquet files are queried where they are; nothing is imported."""
