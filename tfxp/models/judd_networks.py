"""Networks of Judd's comparison beside AlexNet: Network in Network and GoogLeNet, for pricing.

Both are the versions of Caffe's model zoo, which the paper measured. Caffe's pools round sizes up;
where that matters "same" padding gives the same size here.
"""

from __future__ import annotations

from tfxp.models.network_counter import NetworkCounter
from tfxp.precision import ModelStats

# Filters of an inception module: 1 x 1; 3 x 3 behind 1 x 1; 5 x 5 behind 1 x 1; behind the pool.
_INCEPTION = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def nin() -> ModelStats:
    """Network in Network for ImageNet: twelve convolutions, eight of them 1 x 1, no dense layer.

    References:
        Lin, Chen and Yan, "Network In Network", ICLR 2014; nin_imagenet of Caffe's model zoo.
        Judd et al., "Reduced-Precision Strategies for Bounded Memory in Deep Neural Nets", 2015.
    """
    net = NetworkCounter((224, 224, 3))
    net.conv("conv1", 96, 11, stride=4, padding="valid")
    _mlp(net, (1, 2), 96)
    net.pool("pool1", 3, 2, padding="same")
    net.conv("conv2", 256, 5)
    _mlp(net, (3, 4), 256)
    net.pool("pool2", 3, 2)
    net.conv("conv3", 384, 3)
    _mlp(net, (5, 6), 384)
    net.pool("pool3", 3, 2)
    net.conv("conv4", 1024, 3)
    net.conv("cccp7", 1024, 1)
    net.conv("cccp8", 1000, 1)
    net.pool("pool4", 6)
    return net.stats()


def googlenet() -> ModelStats:
    """GoogLeNet without its auxiliary classifiers: nine inception modules.

    References:
        Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, table 1; bvlc_googlenet of
        Caffe's model zoo.
        Judd et al., "Reduced-Precision Strategies for Bounded Memory in Deep Neural Nets", 2015.
    """
    net = NetworkCounter((224, 224, 3))
    net.conv("conv1", 64, 7, stride=2)
    net.pool("pool1", 3, 2, padding="same")
    net.conv("conv2_reduce", 64, 1)
    net.conv("conv2", 192, 3)
    last = net.pool("pool2", 3, 2, padding="same")
    for module, filters in _INCEPTION.items():
        if module in ("4a", "5a"):
            last = net.pool(f"pool{int(module[0]) - 1}", 3, 2, padding="same", source=last)
        last = _inception(net, f"inception{module}", last, filters)
    net.pool("pool5", 7)
    net.dense("classifier", 1000)
    return net.stats()


def _mlp(net: NetworkCounter, numbers: tuple[int, int], filters: int) -> None:
    for number in numbers:
        net.conv(f"cccp{number}", filters, 1)


def _inception(net: NetworkCounter, name: str, source: str, filters: tuple[int, ...]) -> str:
    one, three_reduce, three, five_reduce, five, behind = filters
    branches = [net.conv(f"{name}_1x1", one, 1, source=source)]
    net.conv(f"{name}_3x3_reduce", three_reduce, 1, source=source)
    branches.append(net.conv(f"{name}_3x3", three, 3))
    net.conv(f"{name}_5x5_reduce", five_reduce, 1, source=source)
    branches.append(net.conv(f"{name}_5x5", five, 5))
    net.pool(f"{name}_pool", 3, 1, padding="same", source=source)
    branches.append(net.conv(f"{name}_pool_proj", behind, 1))
    return net.concatenate(name, *branches)
