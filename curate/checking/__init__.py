"""Shards checked, ours or others', and repaired copies of them."""
