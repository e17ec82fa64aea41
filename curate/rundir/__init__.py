"""The run directory: where everything is, what is done, and what an interrupted run has left."""
