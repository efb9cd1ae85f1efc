"""Cross-layer equalization: the same outputs bit for bit, and kernels whose channels are alike."""

from pathlib import Path

import numpy as np
import pytest

import tfxp
from tests.transforms.networks import NETWORKS, inputs_of, randomize
from tfxp.data.input_scaling import InputScaling, keep_scalings, scalings_of
from tfxp.keras import keras, layers, tf
from tfxp.transforms.fold_batch_norm import fold_batch_norm
from tfxp.transforms.layer_graph import LayerGraph
from tfxp.transforms.linear_layers import LINEAR_LAYERS
from tfxp.transforms.normalize.affine import affine_to_batch_norm
from tfxp.transforms.normalize.normalize import normalize


def folded(model):
    return fold_batch_norm(affine_to_batch_norm(normalize(LayerGraph.from_model(model)))).to_model()


def outputs(model, x):
    return [np.asarray(y) for y in tf.nest.flatten(model(x, training=False))]


def spread(model):
    """Model-wide: log2 of the largest over the smallest output channel of every kernel."""
    total = 0.0
    for layer in model.layers:
        form = LINEAR_LAYERS.get(type(layer).__name__)
        if form is not None:
            kernel = np.abs(getattr(layer, form.kernel).numpy())
            end = kernel.ndim - form.trailing
            kept = range(end - form.channel_axes, end)
            sizes = kernel.max(axis=tuple(set(range(kernel.ndim)) - set(kept)))
            total += float(np.log2(sizes.max() / sizes[sizes > 0].min()))
    return total


@pytest.fixture(scope="module")
def built():
    return {name: randomize(build()) for name, build in NETWORKS.items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_stay_the_same(built, name):
    model = built[name]
    before, x = model.get_weights(), inputs_of(model, 8, seed=3)
    wanted = outputs(folded(model), x)
    exact = outputs(tfxp.equalize(model), x)
    assert all(np.array_equal(a, b) for a, b in zip(exact, wanted, strict=True))
    close = outputs(tfxp.equalize(model, powers_of_two=False), x)
    for a, b in zip(close, wanted, strict=True):
        assert np.abs(a - b).max() <= 1e-5 * max(np.abs(b).max(), 1)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_channels_become_alike(built):
    for name in ("plain", "residual", "depthwise", "shared_layers"):
        model = folded(built[name])
        for layer in model.layers:  # a channel a hundred times as large, as folding leaves them
            form = LINEAR_LAYERS.get(type(layer).__name__)
            if form is not None and layer.name != last_layer(model):
                kernel = getattr(layer, form.kernel)
                sizes = 2.0 ** np.linspace(-4, 4, int(np.prod(form.channels(kernel.shape))))
                shape = (*form.channels(kernel.shape), *(1,) * form.trailing)
                kernel.assign(kernel * sizes.reshape(shape))
        assert spread(tfxp.equalize(model)) < 0.7 * spread(model), name


def last_layer(model):
    return [x for x in model.layers if type(x).__name__ in LINEAR_LAYERS][-1].name


def chain(*behind, width=4):
    """Two dense layers around others; output channels of the first differ in size."""
    model = keras.Sequential([keras.Input((3,)), layers.Dense(width, name="a"), *behind])
    model.add(layers.Dense(2, name="b"))
    randomize(model)
    kernel = model.get_layer("a").kernel
    kernel.assign(kernel * 2.0 ** np.arange(-width, width, 2))
    return model


def kernel_ranges(model):
    first, second = (np.abs(model.get_layer(name).kernel.numpy()) for name in "ab")
    return first.max(axis=0), second.max(axis=1)


@pytest.mark.parametrize(
    "between",
    [
        layers.ReLU(),
        layers.ReLU(negative_slope=0.25),
        layers.LeakyReLU(0.25),
        layers.PReLU(),
        layers.Dropout(0.5),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_both_sides_of_a_homogeneous_function_end_alike(between):
    model = chain(between)
    written, read = kernel_ranges(tfxp.equalize(model, powers_of_two=False))
    np.testing.assert_allclose(written, read, rtol=2e-3)
    before = kernel_ranges(model)
    np.testing.assert_allclose(written, np.sqrt(before[0] * before[1]), rtol=2e-3)
    written, read = kernel_ranges(tfxp.equalize(model))
    assert (np.abs(np.log2(written / read)) <= 1.01).all()


@pytest.mark.parametrize(
    "between",
    [
        layers.ReLU(6.0),
        layers.ReLU(threshold=0.5),
        layers.Activation("relu6"),
        layers.Activation("sigmoid"),
        layers.ELU(),
        layers.Activation("softmax"),
        layers.ReLU(activity_regularizer="l2"),
    ],
    ids=["relu6", "threshold", "relu6_name", "sigmoid", "elu", "softmax", "regularized"],
)
def test_scales_stop_at_other_functions(between):
    model = chain(between)
    equal = tfxp.equalize(model)
    assert np.array_equal(kernel_ranges(equal), kernel_ranges(model))


def test_dead_channels_and_outputs_stay():
    model = chain(layers.ReLU())
    kernel = model.get_layer("a").kernel.numpy()
    kernel[:, 1] = 0
    model.get_layer("a").kernel.assign(kernel)
    first = tfxp.equalize(model).get_layer("a").kernel.numpy()
    assert not first[:, 1].any() and np.isfinite(first).all()
    both = keras.Model(model.inputs, [model.get_layer("a").output, model.output])
    assert np.array_equal(kernel_ranges(tfxp.equalize(both)), kernel_ranges(model))


def test_a_single_layer_and_a_fixed_batch():
    x = keras.Input((3,), batch_size=2)
    model = randomize(keras.Model(x, layers.Dense(2)(x)))
    assert tfxp.equalize(model).inputs[0].shape == (2, 3)


def test_input_scalings_go_along():
    model = keras.Sequential([keras.Input((2,), name="x"), layers.Dense(3)])
    keep_scalings(model, {"x": InputScaling((0.5,), (0.0,))})
    assert scalings_of(tfxp.equalize(model)) == scalings_of(model) != {}


def keras_models():
    """Trained networks beside the checkout; all but one of QKeras' layers."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "models"
    paths = [path for path in sorted(folder.glob("**/*.h5")) if "hls4ml" not in path.parts]
    quick = ("pretrainedResnet", "mnist_dw")
    return [
        pytest.param(path, marks=[] if path.stem in quick else pytest.mark.slow, id=path.stem)
        for path in paths
    ]


@pytest.mark.parametrize("path", keras_models())
def test_trained_networks_stay_the_same(path):
    model = keras.models.load_model(path, compile=False)
    x = np.random.default_rng(1).uniform(0, 1, (2, *model.input_shape[1:])).astype(np.float32)
    equal = outputs(tfxp.equalize(model), x)
    assert all(np.array_equal(a, b) for a, b in zip(equal, outputs(folded(model), x), strict=True))
    for a, b in zip(equal, outputs(model, x), strict=True):
        assert np.abs(a - b).max() <= 1e-5 * max(np.abs(b).max(), 1)
