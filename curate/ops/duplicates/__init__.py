"""Which pairs are copies of others, and which of them stays."""
