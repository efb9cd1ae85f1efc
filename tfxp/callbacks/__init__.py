"""Keras callbacks that watch and steer a training in few bits."""

import tfxp.keras  # noqa: F401  first, because it loads TensorFlow quietly
from tfxp.callbacks.event_log import EventLog
from tfxp.callbacks.export_checkpoint import ExportCheckpoint
from tfxp.callbacks.fixed_point_monitor import FixedPointMonitor
from tfxp.callbacks.freeze_formats import FreezeFormats
from tfxp.callbacks.gradient_probe import GradientProbe
from tfxp.callbacks.observer import Observer
from tfxp.callbacks.precise_batch_norm import PreciseBatchNorm, update_batch_norm
from tfxp.callbacks.precision_schedule import PrecisionSchedule
from tfxp.callbacks.pruning_schedule import PruningSchedule
from tfxp.callbacks.range_logger import RangeLogger
from tfxp.callbacks.saturation_alarm import SaturationAlarm, SaturationWarning
from tfxp.callbacks.sparsity_logger import SparsityLogger
from tfxp.callbacks.sqnr_logger import SqnrLogger

__all__ = [
    "EventLog",
    "ExportCheckpoint",
    "FixedPointMonitor",
    "FreezeFormats",
    "GradientProbe",
    "Observer",
    "PreciseBatchNorm",
    "PrecisionSchedule",
    "PruningSchedule",
    "RangeLogger",
    "SaturationAlarm",
    "SaturationWarning",
    "SparsityLogger",
    "SqnrLogger",
    "update_batch_norm",
]
