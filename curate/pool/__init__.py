"""Reading a pool: its formats, their rows, and the columns that travel with them."""
