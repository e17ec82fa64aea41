"""The jobs of runs on engines: what they are called there, how they are doing, how they are ended."""
