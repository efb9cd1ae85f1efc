"""The integer arithmetic of kernels: multipliers with a shift, and functions in fixed point."""
