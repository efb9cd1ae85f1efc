"""Command-line tools; also installed as console commands (tfxp-quantize, …)."""
