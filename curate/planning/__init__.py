"""What a run will do: the parts of the pool, the steps that these go through, what is done already."""
