"""A warning for inputs that a network was not made for."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from tfxp.data import ModelData
from tfxp.data.input_scaling import saturated_share
from tfxp.errors import ScalingWarning

_SHARE = 0.05  # fits that minimise errors clip some values on purpose


def warn_of_saturation(data: ModelData, ranges: Mapping[str, tuple[float, float] | None]) -> None:
    """Warn where many values lie beyond the range of an input's format.

    Args:
        data: inputs as the network takes them.
        ranges: input name -> smallest and largest value of its format, in the order of the data;
            None for an input without one.
    """
    for part, (name, limits) in zip(data.parts, ranges.items(), strict=True):
        values = part.x[part.x != 0]
        share = 0.0 if limits is None or not values.size else saturated_share(values, *limits)
        if limits is not None and share > _SHARE:
            warnings.warn(
                f"input {name!r}: {100 * share:.0f} % of the values in {part.name} lie beyond its "
                f"format, {limits[0]:g} to {limits[1]:g}, and saturate. Scale them as in training "
                "(--input_scale, --input_shift).",
                ScalingWarning,
                stacklevel=2,
            )
