"""Keras callbacks that watch and steer a training in few bits."""

import tfxp.keras  # noqa: F401  first, because it loads TensorFlow quietly
from tfxp.callbacks.event_log import EventLog
from tfxp.callbacks.observer import Observer
from tfxp.callbacks.precision_schedule import PrecisionSchedule
from tfxp.callbacks.saturation_alarm import SaturationAlarm, SaturationWarning

__all__ = [
    "EventLog",
    "Observer",
    "PrecisionSchedule",
    "SaturationAlarm",
    "SaturationWarning",
]
