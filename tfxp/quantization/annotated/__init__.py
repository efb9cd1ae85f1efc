"""Networks that are quantized in parts, as tfmot's annotations of their layers say."""
