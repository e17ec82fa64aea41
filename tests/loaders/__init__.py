"""Sets read back by the loaders that they are written for, in processes as training has them."""
