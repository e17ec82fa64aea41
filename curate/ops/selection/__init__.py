"""Which pairs stay: by rules, by lists, and by balancing."""
