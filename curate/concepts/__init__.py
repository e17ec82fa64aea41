"""Pairs of a run by the concepts in their captions (REAL): how many of each, and the best."""
