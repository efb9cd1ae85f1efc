"""Keras model to new Keras model; no quantizers involved."""
