"""The official code's names of the modules of detnas's networks.

Official code: megvii-model/DetNAS, detectors on maskrcnn-benchmark. Its blocks are `1a`, `1b`, … by stage and place;
convolutions are called `interstellar…`, with `_s` where they are depthwise.
"""

from dataclasses import dataclass, field
from itertools import count

from torch import nn
from torchvision.models.detection import FasterRCNN

from detnas.models.backbone import Subnet
from detnas.models.detectors.build import Detector
from detnas.models.ops.shuffle import Op
from detnas.models.supernet import ChoiceBlock, Supernet
from detnas.spaces import PAPER_OPS

OFFICIAL_OPS = dict(zip(PAPER_OPS, ("shufflenet_3x3", "shufflenet_5x5", "shufflenet_7x7", "xception_3x3"), strict=True))


@dataclass
class Names:
    """`modules`: detnas's name of every module with tensors -> the official one, both without the tensor's name.

    `biases`: official biases of convolutions before BN -> the running mean that absorbs them. detnas has no such
    biases: BN subtracts the mean of its input, and with it any constant, so that the bias has no effect in training,
    and in evaluation it is equivalent to a mean that is smaller by it.
    """

    modules: dict[str, str] = field(default_factory=dict)
    biases: dict[str, str] = field(default_factory=dict)

    def add_normalized(self, ours: str, convolution: str, norm: str | None) -> None:
        """A torchvision convolution `ours`.0 with its norm `ours`.1, or without one."""
        self.modules[f"{ours}.0"] = convolution
        if norm is not None:
            self.modules[f"{ours}.1"] = norm
            self.biases[f"{convolution}.bias"] = f"{ours}.1.running_mean"


def backbone_names(backbone: Subnet | Supernet) -> Names:
    names = Names({"stem.0": "first_conv.conv", "stem.1": "first_conv.bn"})
    places = [
        f"{stage}{chr(ord('a') + place)}" for stage, n in enumerate(backbone.space.repeats, 1) for place in range(n)
    ]
    for index, (block, place) in enumerate(zip(backbone.blocks, places, strict=True)):
        ours, theirs = f"blocks.{index}", f"features.{index}"
        if isinstance(block, ChoiceBlock):
            for choice, name in enumerate(PAPER_OPS):
                op = block.ops[choice]
                assert isinstance(op, Op)
                _add_op(names, op, name, place, f"{ours}.ops.{choice}", f"{theirs}.{choice}")
        else:
            assert isinstance(block, Op) and isinstance(backbone, Subnet)
            _add_op(names, block, PAPER_OPS[backbone.architecture.ops[index]], place, ours, theirs)
    return names


def detector_names(detector: Detector) -> Names:
    """Of a detector with a searched backbone or a supernet inside."""
    body = detector.backbone.body
    # The official code keeps a supernet and its pyramid side by side, else the one and the other under `backbone`.
    theirs, pyramid = ("backbone", "fpn") if isinstance(body, Supernet) else ("backbone.body", "backbone.fpn")
    names = Names({f"backbone.body.{ours}": f"{theirs}.{name}" for ours, name in backbone_names(body).modules.items()})
    for index, stride in enumerate(detector.backbone.strides):
        level = body.strides.index(stride) + 1
        for blocks, name in (("inner_blocks", "fpn_inner"), ("layer_blocks", "fpn_layer")):
            normalized = len(getattr(detector.backbone.pyramid, blocks)[index]) > 1
            official = f"{pyramid}.{name}{level}"
            convolution, norm = (f"{official}.0", f"{official}.1") if normalized else (official, None)
            names.add_normalized(f"backbone.pyramid.{blocks}.{index}", convolution, norm)
    if isinstance(detector, FasterRCNN):
        _add_faster_rcnn(names, detector)
    else:
        for level in ("p6", "p7"):
            names.modules[f"backbone.pyramid.extra_blocks.{level}"] = f"{pyramid}.top_blocks.{level}"
        _add_retinanet(names, detector)
    return names


def _add_faster_rcnn(names: Names, detector: FasterRCNN) -> None:
    names.modules["rpn.head.conv.0.0"] = "rpn.head.conv"
    names.modules["rpn.head.cls_logits"] = "rpn.head.cls_logits"
    names.modules["rpn.head.bbox_pred"] = "rpn.head.bbox_pred"
    head = detector.roi_heads.box_head
    places = count()
    for index, block in enumerate(head):
        if isinstance(block, nn.Linear):
            names.modules[f"roi_heads.box_head.{index}"] = "roi_heads.box.feature_extractor.fc6"
        elif isinstance(block, nn.Sequential):
            official = [f"roi_heads.box.feature_extractor.xconvs.{next(places)}" for _ in block]
            names.add_normalized(f"roi_heads.box_head.{index}", official[0], official[1] if len(block) == 3 else None)
    names.modules["roi_heads.box_predictor.cls_score"] = "roi_heads.box.predictor.cls_score"
    names.modules["roi_heads.box_predictor.bbox_pred"] = "roi_heads.box.predictor.bbox_pred"


def _add_retinanet(names: Names, detector: Detector) -> None:
    for ours, tower, our_last, last in (
        ("classification_head", "cls_tower", "cls_logits", "cls_logits"),
        ("regression_head", "bbox_tower", "bbox_reg", "bbox_pred"),
    ):
        for index in range(len(getattr(detector.head, ours).conv)):
            names.modules[f"head.{ours}.conv.{index}.0"] = f"rpn.head.{tower}.{2 * index}"
        names.modules[f"head.{ours}.{our_last}"] = f"rpn.head.{last}"


def _add_op(names: Names, op: Op, name: str, place: str, ours: str, theirs: str) -> None:
    branch = f"{place}_{OFFICIAL_OPS[name]}_branch2"
    if name == "xception":
        units = (_separable(f"{theirs}.conv.{unit}", branch + letter) for unit, letter in enumerate("abc"))
        main = [part for unit in units for part in unit]
    else:
        main = [*_pointwise(f"{theirs}.conv.0", f"{branch}a"), *_separable(f"{theirs}.conv.1", f"{branch}b")]
    _add_sequence(names, op.main, f"{ours}.main", main)
    if op.projection is not None:
        _add_sequence(names, op.projection, f"{ours}.projection", _separable(f"{theirs}.proj_conv", f"{place}_proj"))


def _add_sequence(names: Names, sequence: nn.Sequential, ours: str, theirs: list[str]) -> None:
    holders = [index for index, module in enumerate(sequence) if not isinstance(module, nn.ReLU)]
    names.modules |= {f"{ours}.{index}": official for index, official in zip(holders, theirs, strict=True)}


def _pointwise(path: str, name: str) -> list[str]:
    return [f"{path}.interstellar{name}", f"{path}.bn{name}"]


def _separable(path: str, name: str) -> list[str]:
    return [f"{path}.interstellar{name}_s", f"{path}.interstellar{name}_s_bn", *_pointwise(path, name)]
