"""The published configurations against their papers' lists, on the networks they belong to."""

from pathlib import Path

import pytest

from tfxp.cost import resolve_precision
from tfxp.models import caffe_alexnet, sakr_resnet20, vgg16, vgg19
from tfxp.precision import PrecisionMap

FOLDER = Path(__file__).parents[2] / "configs/precision"

# ADaPTION counts the sign in the bits before the point; None is float
VGG16_BD = [3, 6, 7, 8, 8, 9, 9, 8, 8, 7, 6, 5, 5, 5, 4, None]
VGG16_TRAIN_BD = [7, 9, 10, 10, 11, 11, 11, 10, 9, 8, 8, 7, 5, 4, 3, None]
VGG19_BD = [3, 6, 6, 7, 8, 8, 8, 9, 9, 9, 9, 8, 7, 6, 5, 5, 4, 4, None]
VGG19_WEIGHT_BD = [2, *[1] * 13, 2, 5, 1, 2, 1]
ALEXNET_BD = [8, 6, 6, 6, 5, 4, 2, None]
ALEXNET_WEIGHT_BD = [1, 1, 1, 1, 2, 1, 1, 1]


def adaption_limits(bits_before, bits_after):
    """Its quantizer: step 2^-ad, range +-(2^(bd-1) - 2^-ad)."""
    return 2.0**-bits_after, 2.0 ** (bits_before - 1) - 2.0**-bits_after


def check(fmt, bits_before, bits_after):
    step, limit = adaption_limits(bits_before, bits_after)
    assert (fmt.scale, fmt.max, fmt.min) == (step, limit, -limit)


@pytest.mark.parametrize(
    ("name", "network", "weights", "data", "rounding"),
    [
        ("vgg16_imagenet_adaption_w16a16", vgg16, [2] * 16, VGG16_BD, "half_away"),
        ("vgg16_imagenet_adaption_train_w16a16", vgg16, [2] * 16, VGG16_TRAIN_BD, "half_away"),
        ("vgg19_imagenet_adaption_w16a16", vgg19, VGG19_WEIGHT_BD, VGG19_BD, "stochastic"),
        ("alexnet_imagenet_adaption_w16a16", caffe_alexnet, ALEXNET_WEIGHT_BD, ALEXNET_BD,
         "stochastic"),
    ],
)  # fmt: skip
def test_adaption_layer_formats(name, network, weights, data, rounding):
    pmap, model = PrecisionMap.load(FOLDER / f"{name}.json"), network()
    precision = resolve_precision(model, pmap)
    assert pmap.rounding == rounding
    weighted = [layer.name for layer in model.layers.values() if layer.weight_count]
    for layer, w, a in zip(weighted, weights, data, strict=True):
        check(precision[layer].weights, w, 16 - w)
        if a is None:
            assert precision[layer].activations == "float"
        else:
            check(precision[layer].activations, a, 16 - a)
        assert precision[layer].placement == "pre_activation"
    assert precision["input"].activations == "float"


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("global_adaption_*.json")), ids=lambda p: p.stem
)
def test_adaption_global_formats(path):
    """The file name decodes to the formats."""
    parts = path.stem.split("_")[2:]
    pmap = PrecisionMap.load(path)
    w = [int(x) for x in parts[1].lstrip("q").split("p")]
    assert sum(w) == int(parts[0].lstrip("w"))
    check(pmap.default.weights, *w)
    if parts[2] == "af":
        assert pmap.default.activations == "float"
    else:
        check(pmap.default.activations, *(int(x) for x in parts[3].lstrip("q").split("p")))
    precision = resolve_precision(vgg16(), pmap)
    assert precision["predictions"].activations == "float"
    assert precision["fc2"].weights == pmap.default.weights


def test_sakr_names_fit_the_network():
    precision = resolve_precision(
        sakr_resnet20(), PrecisionMap.load(FOLDER / "resnet20_cifar10_sakr_training.json")
    )
    assert precision["group1_block0_shortcut"].activations == "float"
    assert precision["group2_block2_add"].activations.bits == 3
    assert precision["group2_block2_add"].activations.max == 2 - 2.0**-2
