"""EfficientNet-Lite by an independent implementation, the package efficientnet-lite-pytorch."""

import torch
from efficientnet_lite_pytorch import EfficientNet
from small_models import randomize
from torch import Tensor

LITES = {f"efficientnet-lite{size}": f"mobile-lite{size}" if size else "mobile" for size in range(5)}
"""Its networks, and detnas's spaces with their layout."""
REPEATS = {"efficientnet-lite0": (1, 2, 2, 3, 3, 4, 1), "efficientnet-lite1": (1, 3, 3, 4, 4, 5, 1)}
"""Blocks of each stage, as the publication lists them."""


def build(name: str, seed: int = 0) -> EfficientNet:
    """One with random weights and BN statistics, in evaluation mode, for images of any size."""
    torch.manual_seed(seed)
    network = EfficientNet.from_name(name, image_size=None).eval()  # its other padding is for images of one size
    randomize(network, seed, variance=(0.1, 0.5))
    return network


def maps(network: EfficientNet, images: Tensor) -> list[Tensor]:
    """The maps of strides 4 to 32: what each block of stride 2 takes, and the last."""
    found = []
    x = network._swish(network._bn0(network._conv_stem(images)))
    for block in network._blocks:
        if block._depthwise_conv.stride[0] == 2:
            found.append(x)
        x = block(x)
    return [*found[1:], x]


def timm_names(tensors: dict[str, Tensor], repeats: tuple[int, ...]) -> dict[str, Tensor]:
    """The tensors by the names of timm's `efficientnet_lite0` and its siblings."""
    places = [f"blocks.{stage}.{place}" for stage, count in enumerate(repeats) for place in range(count)]
    outside = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    inside = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
              "_project_conv": "conv_pwl", "_bn2": "bn3"}  # fmt: skip
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    named = {}
    for name, tensor in tensors.items():
        module, _, last = name.rpartition(".")
        if module.startswith("_blocks."):
            _, index, layer = module.split(".")
            module = f"{places[int(index)]}.{(inside if int(index) else first)[layer]}"
        else:
            module = outside[module]
        named[f"{module}.{last}"] = tensor
    return named
