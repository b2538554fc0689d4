"""Published networks by name. Independent of torch, since recipes are checked against these names."""

from dataclasses import dataclass

from detnas.spaces import Architecture, SearchSpace, search_space

SMALL = search_space("small")
LARGE = search_space("large")
WIDE = SearchSpace("large-3.8g", stem=72, channels=(172, 432, 864, 1728), repeats=LARGE.repeats)
"""The space of the 3.8G network: the large one's blocks, the stages 1.8 times as wide, the stem 1.5 times."""

DETNAS = "DetNAS (Chen et al., 2019), official code"
SERIES = "DetNAS (Chen et al., 2019), ShuffleNet-Series code"
LITE = "EfficientNet-Lite (Google, 2020), the EfficientNets without squeeze-and-excitation"
SHUFFLENET = "ShuffleNetV2 (Ma et al., 2018), DetNAS' baseline"


@dataclass(frozen=True)
class PublishedNetwork:
    """An architecture in its search space, where it was published, and a note on it."""

    space: SearchSpace
    architecture: Architecture
    source: str
    note: str = ""


def _network(space: SearchSpace, architecture: str, source: str, note: str = "") -> PublishedNetwork:
    return PublishedNetwork(space, Architecture.parse(architecture), source, note)


LARGE_WINNER = "00312102 03123320 2113202221310333 13333333"

PUBLISHED = {
    "detnas-fpn-300m": _network(SMALL, "2120 2112 33130031 3132", DETNAS),
    "detnas-retinanet-300m": _network(SMALL, "2311 3213 31113320 3333", DETNAS),
    "detnas-fpn-1.3g": _network(LARGE, LARGE_WINNER, DETNAS),
    "detnas-fpn-3.8g": _network(WIDE, LARGE_WINNER, DETNAS, "detnas-fpn-1.3g, wider"),
    "detnas-voc-fpn-300m": _network(SMALL, "2103 1303 20113333 3331", SERIES),
    "detnas-voc-retinanet-300m": _network(SMALL, "1300 2333 23333220 2311", SERIES),
    "detnas-tong-1019": _network(SMALL, "0001 2033 12223331 3232", DETNAS, "a second list for FPN there, switched off"),
    "spos": _network(SMALL, "2101 2020 20230000 3233", "SPOS (Guo et al., 2019), official code", "for ImageNet"),
    "mmrazor-detnas": _network(
        SMALL, "2020 3110 01010312 2013", "MMRazor's DetNAS", "its blocks differ, so only the choice of ops is theirs"
    ),
    "shufflenetv2-20": PublishedNetwork(SMALL, SMALL.uniform("shuffle3"), SHUFFLENET, "every block shuffle3"),
    "shufflenetv2-40": PublishedNetwork(
        LARGE, LARGE.uniform("shuffle3"), SHUFFLENET, "every block shuffle3; theirs may be wider (1.3G, unconfirmed)"
    ),
}


def _lite(space: str) -> PublishedNetwork:
    """The EfficientNet-Lite with the layout of `space`: expansion 6 everywhere, kernels by stage."""
    found = search_space(space)
    ops = {3: found.ops.index("mbconv6_k3"), 5: found.ops.index("mbconv6_k5")}
    stages = zip(LITE_KERNELS, found.repeats, strict=True)
    return PublishedNetwork(found, Architecture(tuple((ops[kernel],) * blocks for kernel, blocks in stages)), LITE)


LITE_KERNELS = (3, 5, 3, 5, 5, 3)
"""Of the stages after the fixed first block."""

PUBLISHED |= {
    "efficientnet-lite0": _lite("mobile"),
    "efficientnet-lite1": _lite("mobile-lite1"),
    "efficientnet-lite2": _lite("mobile-lite2"),
    "efficientnet-lite3": _lite("mobile-lite3"),
    "efficientnet-lite4": _lite("mobile-lite4"),
}


def known_name(architecture: Architecture, space: SearchSpace) -> str:
    """What people call an architecture of `space`: the name of a published network, or its only op, with the resolution
    if that is a choice; or else its digits."""
    backbone, ops = Architecture(architecture.stages), set(architecture.ops)
    names = [name for name, one in PUBLISHED.items() if (one.architecture, one.space) == (backbone, space.backbones)]
    if len(ops) == 1:
        names.append(f"{space.ops[ops.pop()]} in every block")
    side = architecture.resolution
    where = "" if side is None else f" at {side} pixels"
    return f"{names[0]}{where}" if names else str(architecture)


RESNETS = dict.fromkeys(("resnet50", "resnet101"), "ResNet (He et al., 2016), torchvision's")
"""Networks outside any search space, and where they were published."""

NAMES = (*PUBLISHED, *RESNETS)
