"""Networks as text for NullHop, a machine that skips zeros; any Qm.f, and read back to prove it.

The layout is that of ADaPTION's exporter: the number of layers; per convolution nine lines
(compression of its input, kernel size, input channels, columns, rows, output channels, pooling,
ReLU, padding), then the blocks #KERNELS# (output channel, input channel, row, column), #BIASES#
and, behind the first layer, #PIXELS# (channel, row, column), one integer a line. There, integers
are values times 256. Here every layer may have formats of its own; further lines behind the nine
then say how many fractional bits its kernel, its bias, its output and (first layer) the pixels
have. Where all are 8, these lines are left out and the file is ADaPTION's.
"""

from tfxp.export.nullhop.check import check_nullhop
from tfxp.export.nullhop.convert import nullhop_network
from tfxp.export.nullhop.machine import run_nullhop
from tfxp.export.nullhop.network import NullhopLayer, NullhopNetwork
from tfxp.export.nullhop.text_file import load_nullhop, save_nullhop

__all__ = [
    "NullhopLayer",
    "NullhopNetwork",
    "check_nullhop",
    "load_nullhop",
    "nullhop_network",
    "run_nullhop",
    "save_nullhop",
]
