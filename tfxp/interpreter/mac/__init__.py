"""Multiply-accumulate operators: one canonical form, its definition, its compiled twin.

Every operator of this family is brought into the form of a grouped convolution: activations
(N, H, W, C), weights (kh, kw, C / groups, OC) without their zero point, a bias, a requantizer.

- `layer.py`: the canonical form and how it is read from an operator
- `requantizer.py`: which rounding applies, and applying it
- `definition.py`: accumulation and counting in NumPy, the definition
- `packing.py`, `microkernel.py`, `compiled.py`: the Numba twin that skips zeros
"""
