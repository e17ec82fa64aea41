"""What a notebook or a program does with runs: `curate.run`, `curate.open` and what they give."""
