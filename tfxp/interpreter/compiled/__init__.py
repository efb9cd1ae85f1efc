"""Compiled twins of the multiplying kernels and of what a remembered run repeats."""
