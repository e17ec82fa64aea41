"""The commands: what they take, what they print; the work is done elsewhere."""
