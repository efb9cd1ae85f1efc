"""Multiply-accumulate operators: one canonical form, its definition, its compiled twin.

Every operator of this family is brought into the form of a grouped convolution: activations
(N, H, W, C), weights (kh, kw, C / groups, OC) without their zero point, a bias, a requantizer.

- `layer.py`: the canonical form; `reading.py`: how it is read from an operator
- `requantizer.py`: which rounding applies, and applying it
- `geometry.py`: where taps fall
- `definition.py`: accumulation and counting in NumPy, the definition; `float_layer.py` for floats
- `running.py`: running a layer on either engine; `booking.py`: what its counts add up to

The Numba twin is in `interpreter/compiled/`.
"""
