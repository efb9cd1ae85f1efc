"""The networks that the five papers price, counted layer by layer.

Batch normalization counts as folded (its parameters become the bias of the layer before it) and
activation functions belong to the layer before them, as everywhere in tfxp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tfxp.errors import ConfigError, did_you_mean
from tfxp.models.judd_networks import googlenet, nin
from tfxp.models.network_counter import NetworkCounter
from tfxp.precision import LayerKind, LayerStats, ModelStats


def lin_cifar10() -> ModelStats:
    """Lin's CIFAR-10 network: parameters only.

    The paper prints parameter counts (0.007, 0.295, 0.295, 0.590, 0.590, 1.606, 0.005 million)
    and kernel sizes. The channel numbers here are the ones that give these counts; the sizes of
    the feature maps are not printed, so MACs and activations are left out.

    References:
        Lin et al., "Fixed Point Quantization of Deep Convolutional Networks", ICML 2016, sec. 5.
    """
    convolutions = {
        "conv0": (3, 3, 3, 256),
        "conv1": (3, 3, 256, 128),
        "conv2": (3, 3, 128, 256),
        "conv3": (3, 3, 256, 256),
        "conv4": (3, 3, 256, 256),
        "conv5": (7, 7, 256, 128),
    }
    return _parameters_only(convolutions, {"fc0": (512, 10)})


def lin_alexnet_like() -> ModelStats:
    """Lin's AlexNet-like network: parameters only, channel numbers derived as in `lin_cifar10`.

    Printed: 0.014, 0.384, 0.277, 0.332, 0.277 million in the convolutions, 16.056 and 4.194
    million in the first two dense layers.

    References:
        Lin et al., "Fixed Point Quantization of Deep Convolutional Networks", ICML 2016, sec. 5.
    """
    convolutions = {
        "conv1": (7, 7, 3, 96),
        "conv2": (5, 5, 96, 160),
        "conv3": (3, 3, 160, 192),
        "conv4": (3, 3, 192, 192),
        "conv5": (3, 3, 192, 160),
    }
    return _parameters_only(convolutions, {"fc1": (7840, 2048), "fc2": (2048, 2048)})


def caffe_alexnet() -> ModelStats:
    """AlexNet as Caffe has it (227 x 227 input, two groups), which Judd measured.

    References:
        Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", 2012.
        Judd et al., "Reduced-Precision Strategies for Bounded Memory in Deep Neural Nets", 2015.
    """
    net = NetworkCounter((227, 227, 3))
    net.conv("conv1", 96, 11, stride=4, padding="valid")
    net.pool("pool1", 3, 2)
    net.conv("conv2", 256, 5, groups=2)
    net.pool("pool2", 3, 2)
    net.conv("conv3", 384, 3)
    net.conv("conv4", 384, 3, groups=2)
    net.conv("conv5", 256, 3, groups=2)
    net.pool("pool5", 3, 2)
    for name, units in (("fc6", 4096), ("fc7", 4096), ("fc8", 1000)):
        net.dense(name, units)
    return net.stats()


def wrpn_alexnet(widen_factor: float = 1.0) -> ModelStats:
    """AlexNet as tensorpack has it, on which WRPN was built: no pooling before the second layer.

    Args:
        widen_factor: factor on filters and hidden units.

    Raises:
        ConfigError: a factor that is not positive.

    References:
        Mishra et al., "WRPN: Wide Reduced-Precision Networks", ICLR 2018, sec. 3; the layout is
        that of tensorpack's examples/DoReFa-Net/alexnet-dorefa.py.
    """
    net = NetworkCounter((224, 224, 3))
    width = _widen(widen_factor)
    net.conv("conv0", width(96), 12, stride=4, padding="valid")
    net.conv("conv1", width(256), 5, groups=2)
    net.pool("pool1", 3, 2, padding="same")
    net.conv("conv2", width(384), 3)
    net.pool("pool2", 3, 2, padding="same")
    net.conv("conv3", width(384), 3, groups=2)
    net.conv("conv4", width(256), 3, groups=2)
    net.pool("pool4", 3, 2)
    net.dense("fc0", width(4096))
    net.dense("fc1", width(4096))
    net.dense("fct", 1000)
    return net.stats()


def wrpn_resnet34(widen_factor: float = 1.0) -> ModelStats:
    """ResNet-34 for ImageNet, with 1 x 1 convolutions on the shortcuts that change the shape.

    Args:
        widen_factor: factor on filters and hidden units.

    Raises:
        ConfigError: a factor that is not positive.

    References:
        He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1.
        Mishra et al., "WRPN: Wide Reduced-Precision Networks", ICLR 2018, sec. 3.
    """
    net = NetworkCounter((224, 224, 3))
    width = _widen(widen_factor)
    net.conv("conv1", width(64), 7, stride=2)
    net.pool("pool1", 3, 2, padding="same")
    for group, (blocks, filters) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512))):
        for block in range(blocks):
            stride = 2 if group and not block else 1
            _residual_block(net, f"group{group}_block{block}", width(filters), stride)
    net.pool("global_pool", 7)
    net.dense("linear", 1000)
    return net.stats()


def sakr_convnet(widen_factor: float = 1.0) -> ModelStats:
    """Sakr's CIFAR-10 ConvNet: 2x64C3-MP2-2x128C3-MP2-2x256C3-512FC-512FC-10, valid padding.

    The padding is the one that gives the paper's costs.

    Args:
        widen_factor: factor on filters and hidden units.

    Raises:
        ConfigError: a factor that is not positive.

    References:
        Sakr and Shanbhag, "Per-Tensor Fixed-Point Quantization of the Back-Propagation
        Algorithm", ICLR 2019.
    """
    net = NetworkCounter((32, 32, 3), bias=False)
    width = _widen(widen_factor)
    for group, filters in enumerate((64, 128, 256)):
        for index in range(2):
            net.conv(f"conv{group}_{index}", width(filters), 3, padding="valid")
        if group < 2:
            net.pool(f"pool{group}", 2)
    net.dense("dense0", width(512))
    net.dense("dense1", width(512))
    net.dense("dense2", 10)
    return net.stats()


def sakr_resnet20(widen_factor: float = 1.0) -> ModelStats:
    """Sakr's CIFAR-10 ResNet: nine blocks of 128, 256 and 512 filters, 22 layers with weights.

    Layers with weights come in the order of the authors' lists: in a block with a shortcut
    convolution, the shortcut is third.

    Args:
        widen_factor: factor on filters and hidden units.

    Raises:
        ConfigError: a factor that is not positive.

    References:
        Sakr and Shanbhag, "Per-Tensor Fixed-Point Quantization of the Back-Propagation
        Algorithm", ICLR 2019, and the authors' train_quantized.py.
    """
    net = NetworkCounter((32, 32, 3), bias=False)
    width = _widen(widen_factor)
    net.conv("conv0", width(128), 3)
    for group, filters in enumerate((128, 256, 512)):
        for block in range(3):
            stride = 2 if group and not block else 1
            name = f"group{group}_block{block}"
            _residual_block(net, name, width(filters), stride, shortcut_kernel=3)
    net.pool("global_pool", 8)
    net.dense("dense", 10)
    return net.stats()


def vgg16() -> ModelStats:
    """VGG16 for ImageNet, named as in Keras, which ADaPTION converted.

    References:
        Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
        Recognition", ICLR 2015, table 1, configuration D.
    """
    return _vgg((2, 2, 3, 3, 3))


def vgg19() -> ModelStats:
    """VGG19 for ImageNet, named as in Keras, which ADaPTION converted too.

    References:
        Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
        Recognition", ICLR 2015, table 1, configuration E.
    """
    return _vgg((2, 2, 4, 4, 4))


def _vgg(repeats_by_block: tuple[int, ...]) -> ModelStats:
    net = NetworkCounter((224, 224, 3))
    blocks = zip(repeats_by_block, (64, 128, 256, 512, 512), strict=True)
    for block, (repeats, filters) in enumerate(blocks, start=1):
        for index in range(1, repeats + 1):
            net.conv(f"block{block}_conv{index}", filters, 3)
        net.pool(f"block{block}_pool", 2)
    for name, units in (("fc1", 4096), ("fc2", 4096), ("predictions", 1000)):
        net.dense(name, units)
    return net.stats()


PAPER_NETWORKS: dict[str, Callable[[], ModelStats]] = {
    "caffe_alexnet": caffe_alexnet,
    "googlenet": googlenet,
    "lin_alexnet_like": lin_alexnet_like,
    "lin_cifar10": lin_cifar10,
    "nin": nin,
    "sakr_convnet": sakr_convnet,
    "sakr_resnet20": sakr_resnet20,
    "vgg16": vgg16,
    "vgg19": vgg19,
    "wrpn_alexnet": wrpn_alexnet,
    "wrpn_resnet34": wrpn_resnet34,
}


def count_network(name: str) -> ModelStats:
    """The paper's network called `name`.

    Args:
        name: one of `PAPER_NETWORKS`.

    Raises:
        ConfigError: there is none.

    Example:
        >>> count_network("sakr_convnet").weight_count
        1542848
    """
    if name not in PAPER_NETWORKS:
        hint = did_you_mean(name, PAPER_NETWORKS)
        known = ", ".join(PAPER_NETWORKS)
        raise ConfigError(f"network: got {name!r}; expected one of {known}.{hint}")
    return PAPER_NETWORKS[name]()


def _residual_block(
    net: NetworkCounter, name: str, filters: int, stride: int, shortcut_kernel: int = 1
) -> None:
    source = _last(net)
    changes = stride != 1 or net.shape(source)[-1] != filters
    net.conv(f"{name}_conv0", filters, 3, stride)
    main = net.conv(f"{name}_conv1", filters, 3)
    if changes:
        source = net.conv(f"{name}_shortcut", filters, shortcut_kernel, stride, source=source)
    net.add(f"{name}_add", main, source)


def _last(net: NetworkCounter) -> str:
    return net.stats().outputs[0]


def _widen(factor: float) -> Callable[[int], int]:
    if factor <= 0:
        raise ConfigError(f"widen_factor: got {factor}; expected a positive number.")
    return lambda filters: max(1, round(filters * factor))


def _parameters_only(
    convolutions: Mapping[str, tuple[int, ...]], dense: Mapping[str, tuple[int, ...]]
) -> ModelStats:
    layers = {}
    for kind, shapes in ((LayerKind.CONV, convolutions), (LayerKind.DENSE, dense)):
        for name, shape in shapes.items():
            layers[name] = LayerStats(name, kind, weight_shape=shape)
    return ModelStats(layers, (list(layers)[-1],))
