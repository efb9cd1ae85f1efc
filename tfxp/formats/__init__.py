"""Number formats as values: fixed point and WRPN grids, rounding, codes, and fitting."""

from tfxp.formats.candidates import Candidate, candidate, candidates
from tfxp.formats.codec import decode, decode_scalar, encode, encode_scalar, quantize
from tfxp.formats.fit import (
    FITS,
    decibels,
    fit_clip_budget,
    fit_max_abs,
    fit_mse,
    mean_squared_error,
    sqnr_db,
)
from tfxp.formats.fixed_point import MAX_BITS, FixedPointFormat
from tfxp.formats.parsing import Format, format_of_scale, parse_format
from tfxp.formats.portable_mean import MEAN_WEIGHT, portable_mean_bias
from tfxp.formats.rounding import Overflow, Rounding, round_array, round_scalar
from tfxp.formats.storage import has_power_of_two, int8_zero_point, spare_bits
from tfxp.formats.tensor_stats import TensorStats
from tfxp.formats.wrpn import WrpnFormat

__all__ = [
    "FITS",
    "MAX_BITS",
    "MEAN_WEIGHT",
    "Candidate",
    "FixedPointFormat",
    "Format",
    "Overflow",
    "Rounding",
    "TensorStats",
    "WrpnFormat",
    "candidate",
    "candidates",
    "decibels",
    "decode",
    "decode_scalar",
    "encode",
    "encode_scalar",
    "fit_clip_budget",
    "fit_max_abs",
    "fit_mse",
    "format_of_scale",
    "has_power_of_two",
    "int8_zero_point",
    "mean_squared_error",
    "parse_format",
    "portable_mean_bias",
    "quantize",
    "round_array",
    "round_scalar",
    "spare_bits",
    "sqnr_db",
]
