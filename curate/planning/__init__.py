"""What a run will do: the pool cut into parts, what is asked of them, what stands already."""
