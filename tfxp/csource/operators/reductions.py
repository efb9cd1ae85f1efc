"""Pools, and operators that reduce axes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tfxp.csource.operators.moves import move
from tfxp.csource.operators.products import image_of
from tfxp.csource.operators.site import Site, lowers
from tfxp.csource.program import Step
from tfxp.graph import Tensor
from tfxp.interpreter.kernels.pooling import window_extent


@lowers("AVERAGE_POOL_2D", "MAX_POOL_2D")
def _pool(site: Site) -> list[Step]:
    kind = {"AVERAGE_POOL_2D": "average", "MAX_POOL_2D": "max"}[site.operator]
    options = site.node.options
    source, target = image_of(site.tensor(0)), image_of(site.output)
    axes = []
    for i, (side, word) in enumerate((("h", "height"), ("w", "width"))):
        window, stride = options[f"filter_{word}"], options[f"stride_{side}"]
        before = window_extent(source[i], window, stride, options["padding"])[1]
        axes.append((window, stride, 1, before))
    structure = site.structure("tfxp_pool", source, target, *axes, *site.node.cache["limits"])
    call = f"tfxp_{kind}_pool(&{site.c_name}_layer, $in0, $out)"
    return [site.step(call, [site.index(0)], structure=structure)]


@lowers("REDUCE_MAX", "REDUCE_MIN")
def _extreme(site: Site) -> list[Step]:
    before, source, sizes = _arranged(site)
    verb = site.operator.lower()
    call = f"tfxp_{verb}({', '.join(map(str, sizes))}, $in0, $out)"
    return [*before, site.step(call, [source])]


@lowers("MEAN", "SUM")
def _mean(site: Site) -> list[Step]:
    """The sums at which the code changes: exact for any number of positions and any scale."""
    before, source, sizes = _arranged(site)
    _, count, _ = sizes
    sums = np.arange(-128 * count, 127 * count + 1)
    codes = np.clip(site.node.cache["scale"](sums, count), -128, 127).astype(np.int64)
    assert (np.diff(codes) >= 0).all()
    if count & (count - 1) == 0 and (shift := _shift(site, sums, codes, count)) is not None:
        x, y = site.tensor(0), site.output
        offset = x.zero_point * count
        numbers = ", ".join(map(str, (*sizes, offset, shift, 0, y.zero_point)))
        call = f"tfxp_mean_by_shift({numbers}, $in0, $out)"
        return [*before, site.step(call, [source])]
    # the smallest sum that gives each code above the lowest
    steps = sums[np.searchsorted(codes, np.arange(codes[0] + 1, codes[-1] + 1))]
    constant = site.constant("steps", "int32_t", steps)
    numbers = ", ".join(map(str, (*sizes, len(steps), codes[0], constant.name)))
    call = f"tfxp_mean({numbers}, $in0, $out)"
    return [*before, site.step(call, [source], constants=[constant])]


def _shift(site: Site, sums: NDArray[np.int64], codes: NDArray[np.int64], count: int) -> int | None:
    """The shift that gives the code of every sum, rounded half to even; None if none does."""
    x, y = site.tensor(0), site.output
    parts = 1 if site.operator == "SUM" else count
    mantissa, exponent = math.frexp(parts * y.scale / x.scale)
    shift = exponent - 1
    if mantissa != 0.5 or not 0 < shift < 31:
        return None
    exact = np.rint((sums - x.zero_point * count) / 2.0**shift) + y.zero_point
    return shift if np.array_equal(np.clip(exact, -128, 127), codes) else None


def _arranged(site: Site) -> tuple[list[Step], int, tuple[int, int, int]]:
    """The input with reduced axes side by side: steps before, its number, and three sizes.

    Sizes are of everything outside the reduced axes, of these, and of everything inside.
    """
    x, axes = site.tensor(0), tuple(site.node.cache["axes"])
    if not axes or 0 in axes:
        raise site.refusal(f"axes {list(axes)}; expected some behind the first")
    if axes == tuple(range(axes[0], axes[-1] + 1)):
        return [], site.index(0), _sizes(x, axes[0], axes[-1] + 1)
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]
    places = np.arange(x.size).reshape(x.shape).transpose(*kept, *axes)
    turned = site.temporary("turned", places.shape)
    tensor = site.node.graph.tensors[turned]
    first = move(site, places, site.index(0), output=turned)
    return [first], turned, _sizes(tensor, len(kept), len(x.shape))


def _sizes(tensor: Tensor, first: int, last: int) -> tuple[int, int, int]:
    shape = tensor.shape
    return math.prod(shape[:first]), math.prod(shape[first:last]), math.prod(shape[last:])
