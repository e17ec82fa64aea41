"""What is done with a run that is done: explained, reduced to a list of uids, rebalanced, rescored."""
