"""Widening, and the ranges that WRPN's grids demand."""
