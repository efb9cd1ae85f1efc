"""Compiled twins of kernels, by Numba: the same integers and counts as their NumPy definitions.

- `layer.py`: which kernel a convolution takes; `running.py`: running steps, the only way in
- `native.py`: machine code, from disk or compiled; `program.py`: a table of steps
- `scatter.py`, `planes.py`, `dense.py`, `depthwise.py`: kernels that skip zero activations, zero
  weights, and nothing; `by_cost.py`: which of two an image takes; `plain.py`: what 32 bits do not
  hold
- `elementwise.py`, `fixed_point.py`, `moving.py`: short operators
- `scatter_layout.py`, `planes_layout.py`, `dense_layout.py`, `packing.py`: layers laid out for them
- `record.py`: the constants of a kernel by name; `lanes.py`: vectors of this processor
- `store.py`, `store_scalar.py`, `counting.py`: requantizing and counting, by all convolutions
- `microkernel*.py`: inner loops in LLVM IR; `memory.py`: memory by address, calls, decorators
"""
