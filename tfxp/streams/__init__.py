"""Samples that are read as they are needed, by tf.data: folders, records, tables, data sets."""

from tfxp.streams.open_data import open_data

__all__ = ["open_data"]
