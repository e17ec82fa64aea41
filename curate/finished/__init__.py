"""What is done to a run that stands: told of, taken from, balanced or scored otherwise."""
