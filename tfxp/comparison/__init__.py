"""Two runs of a network compared, tensor by tensor."""
