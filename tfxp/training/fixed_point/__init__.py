"""Training in which all five tensors are fixed point."""
