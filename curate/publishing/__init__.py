"""The set of a run as a repository of a hub."""
