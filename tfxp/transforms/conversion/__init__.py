"""Keras 3 models become tf_keras models."""
