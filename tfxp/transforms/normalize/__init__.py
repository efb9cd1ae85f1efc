"""Layers rewritten into the few forms that quantization and export know."""
