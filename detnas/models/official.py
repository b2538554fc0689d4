"""Weights of the official release, and of trainings with the official code, as networks of detnas."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, FasterRCNN_ResNet50_FPN_Weights
from torchvision.models.segmentation import FCN_ResNet50_Weights

from detnas.config import OFFICIAL_INPUT, DetectorSettings, FPNSettings, RetinaNetSettings
from detnas.config.loading import explain
from detnas.models.backbone import Subnet
from detnas.models.detectors.build import Detector
from detnas.models.official_names import Names, backbone_names, detector_names
from detnas.models.ops.shuffle import Shuffle
from detnas.models.state_dicts import check_tensors, load_checkpoint, state_dict_of
from detnas.models.supernet import Supernet
from detnas.models.weights import BackboneInfo, DetectorInfo
from detnas.spaces import PAPER_OPS, Architecture, SearchSpace, search_space
from detnas.spaces.published import PUBLISHED
from detnas.utils.errors import UserError, suggestion
from detnas.utils.text import describe_value

SUPERNETS = {"small-supernet": "small", "large-supernet": "large"}
"""Names of supernets, and their spaces'."""

NETWORKS = {name: network for name, network in PUBLISHED.items() if network.space.ops == PAPER_OPS}
"""The published networks whose weights may be in the official code's form."""

NetworkName: TypeAlias = str | SearchSpace | tuple[SearchSpace, Architecture]
"""How an official network is named: see `import_official`."""

STEM = "first_conv.conv.weight"
"""The tensor by which a checkpoint's backbone is found."""

CLASSIFIER = {
    *(f"last_conv.conv.{tensor}" for tensor in ("weight", "bias")),
    *(f"last_conv.bn.{tensor}" for tensor in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
    *(f"{layer}.{tensor}" for layer in ("fc", "fc.fc") for tensor in ("weight", "bias")),
}
"""The head of the official ImageNet networks, which no detector has."""

HEADS = ("rpn.", "roi_heads.")
MOST_ROWS = 10**6
"""Of a detection head's tensor: classes, times anchors in a RetinaNet."""


@dataclass(frozen=True)
class Imported:
    """An official network, the metadata for its weights file, and the official tensors that it has no place for."""

    model: Subnet | Supernet | Detector
    info: BackboneInfo | DetectorInfo
    left_out: tuple[str, ...]


def import_official(
    source: Mapping[str, Any] | str | Path, name: NetworkName, shuffle: Shuffle | None = None
) -> Subnet | Supernet | Detector:
    """A network of detnas, in evaluation mode, from weights of the official code (megvii-model/DetNAS).

    `source` is a state dict (names to tensors), a checkpoint that holds one under `model` or `state_dict`, or such a
    checkpoint's file, which is read as data (`weights_only=True`). `name` says which network it is: published
    (`detnas models` lists them), `small-supernet` or `large-supernet`, or a pair of space and architecture,
    or a space alone for its supernet. Channels are split as in the released weights: `even_odd` in single networks,
    `interleave` in supernets, unless `shuffle` says otherwise; with the wrong one the weights are useless.

    A checkpoint with detection heads (Faster R-CNN with FPN, or RetinaNet, by its keys) gives a whole detector, which
    takes RGB in 0-1 like all detectors and feeds its network BGR in 0-255; its boxes are those of the official code up
    to what `detnas/models/detectors/geometry.py` lists. Classes are in the official order: label 0 is the official 1,
    of COCO's 80 by increasing category id or of VOC's 20 by name. Any other checkpoint gives the backbone, a `Subnet`
    or `Supernet`; it too was trained on BGR in 0-255, so build detectors around it with
    `**detnas.config.OFFICIAL_INPUT.model_dump()`. The ImageNet head (1x1 convolution, linear layer) has no place in a
    backbone and is left out; `detnas import` names it. Of a supernet, BN statistics fit no path before recalibration.

    Raises `UserError` if the file cannot be read as data, the name is unknown, or a tensor is missing, unknown or of
    another shape.
    """
    return read_official(source, name, shuffle).model


def read_official(
    source: Mapping[str, Any] | str | Path, name: NetworkName, shuffle: Shuffle | None = None, where: str = ""
) -> Imported:
    """As `import_official`, with the metadata of a weights file and the tensors that were left out. Messages call the
    source `where`."""
    where = where or ("the state dict" if isinstance(source, Mapping) else str(source))
    space, architecture, network = _network(name, where)
    shuffle = shuffle or ("interleave" if architecture is None else "even_odd")
    checkpoint = source if isinstance(source, Mapping) else load_checkpoint(Path(source))
    reader = _Reader(f"{where}, as {network}", state_dict_of(checkpoint, where), space, architecture, shuffle)
    reader.check_stem()
    return reader.detector() if any(key.startswith(HEADS) for key in reader.tensors) else reader.backbone()


@dataclass
class _Reader:
    """The tensors of one checkpoint, and the network into which they are loaded."""

    where: str
    tensors: dict[str, Tensor]
    space: SearchSpace
    architecture: Architecture | None
    shuffle: Shuffle

    def backbone(self) -> Imported:
        prefix = next(key for key in self.tensors if key.endswith(STEM)).removesuffix(STEM)
        left_out = tuple(key for key in self.tensors if key in {prefix + name for name in CLASSIFIER})
        for key in left_out:
            del self.tensors[key]
        info = BackboneInfo(self.space, self.architecture, OFFICIAL_INPUT, self.shuffle)
        with torch.device("meta"):  # a checkpoint may claim more than there is memory for
            shapes = info.build()
        self._check(shapes, backbone_names(shapes), prefix)
        model = info.build()
        self._fill(model, backbone_names(model), prefix)
        return Imported(model, info, left_out)

    def detector(self) -> Imported:
        settings = self._settings()
        rows = self._rows("roi_heads.box.predictor.cls_score.weight", "rpn.head.cls_logits.weight", default=81)
        if rows > MOST_ROWS:
            raise UserError(f"{self.where}: its head has {rows:,} rows, more than any; give another checkpoint")
        num_classes = rows - 1
        if isinstance(settings, RetinaNetSettings):
            num_classes = rows // (len(settings.anchor_ratios) * len(settings.anchor_scales))
        categories = official_categories(max(1, num_classes))
        info = DetectorInfo(self.space, self.architecture, settings, categories, self.shuffle)
        with torch.device("meta"):
            shapes = info.build()
        anchors = self._take_anchors(shapes)
        self._check(shapes, detector_names(shapes))
        model = info.build()
        self._check_anchors(model, anchors)
        self._fill(model, detector_names(model))
        return Imported(model, info, ())

    def check_stem(self) -> None:
        if not any(key.endswith(STEM) for key in self.tensors):
            raise UserError(
                f"{self.where}: holds no backbone of the official code (no {STEM}); give another checkpoint"
            )
        is_supernet = holds_supernet(self.tensors)
        if is_supernet and self.architecture is not None:
            raise UserError(f"{self.where}: holds a supernet; name it {' or '.join(SUPERNETS)}")
        if not is_supernet and self.architecture is None:
            raise UserError(f"{self.where}: holds a single network; name one of {', '.join(NETWORKS)}")

    def _settings(self) -> FPNSettings | RetinaNetSettings:
        """The official settings, with the widths that the tensors have."""
        norm = "batch" if any("fpn_inner4.1." in key for key in self.tensors) else "none"
        common: dict[str, Any] = OFFICIAL_INPUT.model_dump() | {"geometry": "maskrcnn-benchmark", "norm": norm}
        kind: type[DetectorSettings]
        if "rpn.head.cls_tower.0.weight" in self.tensors:
            kind = RetinaNetSettings
            towers = [key for key in self.tensors if key.startswith("rpn.head.cls_tower.") and key.endswith("weight")]
            own = {"fpn_channels": self._rows("rpn.head.cls_tower.0.weight"), "head_convs": len(towers)}
        else:
            kind = FPNSettings
            extractor = "roi_heads.box.feature_extractor"
            convs = [key for key, tensor in self.tensors.items() if extractor in key and tensor.dim() == 4]
            own = {
                "fpn_channels": self._rows("rpn.head.conv.weight", default=256),
                "box_convs": len(convs),
                "box_channels": self._rows(*convs[:1], default=256),
                "box_features": self._rows(f"{extractor}.fc6.weight", default=1024),
            }
        try:
            return kind.model_validate(common | own)
        except ValidationError as error:
            raise UserError(f"{self.where}: its tensors' shapes fit no detector ({explain(error, kind)})") from None

    def _rows(self, *keys: str, default: int = 0) -> int:
        """The first dimension of the first of these tensors that exists; `_fill` reports missing ones."""
        found = (self.tensors[key].shape for key in keys if key in self.tensors)
        return next((shape[0] for shape in found if shape), default)

    def _take_anchors(self, detector: Detector) -> dict[int, Tensor]:
        """The anchors that the official code stores, by the level of the pyramid; `detector` has no place for them."""
        keys = {f"rpn.anchor_generator.cell_anchors.{level}": level for level in range(len(_cell_anchors(detector)))}
        return {level: self.tensors.pop(key) for key, level in keys.items() if key in self.tensors}

    def _check_anchors(self, detector: Detector, anchors: Mapping[int, Tensor]) -> None:
        """Check stored anchors against the detector's, up to how pixels are counted."""
        for level, theirs in anchors.items():
            ours = _cell_anchors(detector)[level]
            pixel = ours.new_tensor([0, 0, 1, 1])
            if theirs.shape != ours.shape or not torch.allclose(theirs.to(ours) + pixel, ours):
                raise UserError(f"{self.where}: has other anchors than the official configurations; it cannot be read")

    def _check(self, model: nn.Module, names: Names, prefix: str = "") -> None:
        """Raise `UserError` if a tensor of `model` is missing, left over or of another shape."""
        ours = model.state_dict()
        shapes = {theirs: ours[key].shape for theirs, key in (_keys(ours, names, prefix) | names.biases).items()}
        check_tensors(self.tensors, shapes, self.where, "give that network's checkpoint, or its name")

    def _fill(self, model: nn.Module, names: Names, prefix: str = "") -> None:
        """Load all tensors, named with `prefix`, into `model`."""
        ours = model.state_dict()
        keys = _keys(ours, names, prefix)
        state = ours | {key: self.tensors[theirs] for theirs, key in keys.items() if theirs in self.tensors}
        for bias, mean in names.biases.items():
            state[mean] = state[mean] - self.tensors[bias]
        model.load_state_dict(state)
        model.eval()


def _keys(ours: Mapping[str, Tensor], names: Names, prefix: str) -> dict[str, str]:
    """The official name of every tensor, with detnas's."""
    keys = {}
    for key in ours:
        module, _, tensor = key.rpartition(".")
        keys[f"{prefix}{names.modules[module]}.{tensor}"] = key
    return keys


def holds_supernet(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a state dict of the official code is that of a supernet."""
    return any("features.0.0.conv." in key for key in tensors)


def _cell_anchors(detector: Detector) -> list[Tensor]:
    generator = detector.rpn.anchor_generator if isinstance(detector, FasterRCNN) else detector.anchor_generator
    anchors: list[Tensor] = generator.cell_anchors
    return anchors


def official_categories(num_classes: int) -> tuple[tuple[int, str], ...]:
    """(id, name) in the order of the official labels: COCO's 80, VOC's 20 numbered from 1, else numbers for names."""
    # A category's id is its place in these lists of torchvision's, where those that COCO left out are N/A.
    coco = FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    voc = FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1.meta["categories"]
    unnamed = ["__background__", *(f"class {label}" for label in range(1, num_classes + 1))]
    names = {80: coco, 20: voc}.get(num_classes, unnamed)
    return tuple((id, name) for id, name in enumerate(names) if name not in ("__background__", "N/A"))


def _network(name: NetworkName, where: str) -> tuple[SearchSpace, Architecture | None, str]:
    """The space, the architecture unless it is a supernet, and what messages call the network."""
    if isinstance(name, str):
        if name in SUPERNETS:
            return search_space(SUPERNETS[name]), None, name
        if name not in NETWORKS:
            raise UserError(f"network {describe_value(name)} is unknown; {suggestion(name, [*NETWORKS, *SUPERNETS])}")
        return NETWORKS[name].space, NETWORKS[name].architecture, name
    space, architecture = name if isinstance(name, tuple) else (name, None)
    if (space.family, space.first_block, space.ops) != ("shufflenet", None, PAPER_OPS):
        raise UserError(
            f"{where}: official networks are of family shufflenet and have the ops {', '.join(PAPER_OPS)}, but space "
            f"{space.name} is of family {space.family} and has {', '.join(space.ops)}; name a space of theirs"
        )
    if architecture is None:
        return space, None, f"the supernet of space {space.name}"
    space.check(architecture)
    return space, architecture, f"{architecture} of space {space.name}"
