"""dedup: clusters of pairs that are the same, over all parts."""
