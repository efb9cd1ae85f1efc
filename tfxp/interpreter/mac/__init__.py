"""Multiply-accumulate operators: one canonical form, its definition, its compiled twin.

Every operator of this family is brought into the form of a grouped convolution: activations
(N, H, W, C), weights (kh, kw, C / groups, OC) without their zero point, a bias, a requantizer.

- `layer.py`: the canonical form and how it is read from an operator
- `requantizer.py`: which rounding applies, and applying it
- `definition.py`: accumulation and counting in NumPy, the definition
- `compiled.py`: the Numba twin; which kernel a layer takes
- `compiled_scatter.py`, `compiled_planes.py`, `compiled_depthwise.py`: the kernels, which skip zero
  activations, zero weights, and neither; `compiled_plain.py`: what 32 bits do not hold
- `scatter_layout.py`, `planes_layout.py`, `packing.py`: layers laid out for them
- `microkernel*.py`: their inner loops
"""
