"""The table of linear layers against Keras, and against all who would name a class once more."""

import math
from pathlib import Path

import pytest

from tfxp.keras import layers
from tfxp.measure.any_layer import _COUNTS
from tfxp.quantization.layer_table import LAYERS
from tfxp.transforms.linear_layers import DENSE, DEPTHWISE, LINEAR_LAYERS
from tfxp.transforms.wrpn.layer_rules import WITH_KERNELS
from tfxp.transforms.wrpn.rescale_rules import MAKERS

PACKAGE = Path(__file__).resolve().parents[2] / "tfxp"


@pytest.mark.parametrize("name", LINEAR_LAYERS)
def test_kernels_are_where_the_table_says(name):
    form = LINEAR_LAYERS[name]
    rank = 0 if form is DENSE else int(name.removesuffix("Transpose")[-2])
    settings = (5,) if form is DENSE else (3,) if form is DEPTHWISE else (5, 3)
    multiplied = {"depth_multiplier": 2} if form is DEPTHWISE else {}
    layer = getattr(layers, name)(*settings, **multiplied)
    layer.build((None, *[8] * rank, 4))
    kernel = getattr(layer, form.kernel)
    channels = layer.compute_output_shape((None, *[8] * rank, 4))[-1]
    assert math.prod(form.channels(tuple(kernel.shape))) == channels == layer.bias.shape[0]
    assert form.counts is None or layer.get_config()[form.counts] == channels
    weight = LAYERS[name].weights[0]
    assert weight.channels(kernel.shape) == form.channels(tuple(kernel.shape))


def test_everybody_knows_every_class():
    for known in (LAYERS, _COUNTS, WITH_KERNELS, MAKERS):
        assert set(LINEAR_LAYERS) <= set(known)


def test_a_class_is_named_by_its_table_its_writer_and_who_makes_it():
    files = {path.name for path in PACKAGE.rglob("*.py") if "DepthwiseConv1D" in path.read_text()}
    assert files == {"linear_layers.py", "linear.py", "separable.py"}
