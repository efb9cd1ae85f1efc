"""Compiled twins of kernels, by Numba: the same integers and counts as their NumPy definitions.

- `layer.py`: which kernel a convolution takes; `program.py`: running steps, the only way in
- `scatter.py`, `planes.py`, `depthwise.py`: kernels that skip zero activations, zero weights, and
  neither; `plain.py`: what 32 bits do not hold; `elementwise.py`: short operators
- `scatter_layout.py`, `planes_layout.py`, `packing.py`: layers laid out for them
- `record.py`: the constants of a kernel by name
- `store.py`, `counting.py`: requantizing and counting, which all convolutions share
- `microkernel*.py`: inner loops in LLVM IR; `memory.py`: arrays over addresses, and decorators
"""
