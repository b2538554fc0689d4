"""Weights files: the tensors of a detector or a backbone, and all that is needed to use them, in one safetensors file.

Tensors have torchvision's names outside the backbone. A detector that is built by torchvision's own calls therefore
loads them as they are, for example one of type `fpn` and `geometry: torchvision`:

    body = detnas.create_backbone("detector.safetensors")
    pyramid = torchvision.ops.FeaturePyramidNetwork(body.channels, 256, LastLevelMaxPool(), nn.BatchNorm2d)
    backbone = ...  # a module with `body`, `pyramid` and `out_channels`: body's maps by stride through the pyramid
    detector = torchvision.models.detection.FasterRCNN(backbone, num_classes=None, ...)
    detector.load_state_dict(safetensors.torch.load_file("detector.safetensors"))

Whatever is not a tensor must be given by hand: sizes, anchors, thresholds, mean and standard deviation, which are in
the file's metadata under `detector`; channels in BGR order; and for a RetinaNet with `losses: paper` the box coder, by
`detector.box_coder = BoxCoder((10, 10, 5, 5))`. tests/models/test_interchange.py does it for both types.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torchvision
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from detnas.config import DataSettings, DetectorSettings, Preprocessing
from detnas.models.backbone import Subnet
from detnas.models.detectors.build import Detector, build_detector
from detnas.models.ops.shuffle import Shuffle
from detnas.models.supernet import Supernet
from detnas.models.weights_header import DIGEST, NO_DIGEST, Header, read_header, with_digest
from detnas.models.weights_metadata import BACKBONE, DETECTOR, BackboneMetadata, read_metadata
from detnas.spaces import PAPER_OPS, Architecture, SearchSpace
from detnas.spaces.ops import find_op
from detnas.utils.errors import UserError
from detnas.utils.files import is_folder, write_file
from detnas.utils.import_string import IMPORT_STRING
from detnas.version import __version__

DAMAGE = (UserError, KeyError, TypeError, ValueError, RuntimeError)
"""What reading a damaged file may raise."""


@dataclass(frozen=True)
class BackboneInfo:
    """What a weights file says about its backbone, which is a supernet if `architecture` is None, and its input."""

    space: SearchSpace
    architecture: Architecture | None
    preprocessing: Preprocessing
    shuffle: Shuffle = "even_odd"

    def build(self) -> Subnet | Supernet:
        """The backbone, with fresh weights."""
        return _build_backbone(self.space, self.architecture, self.shuffle)


@dataclass(frozen=True)
class DetectorInfo:
    """What a weights file says about its detector.

    `categories` are (id, name) by label, from 0. `architecture` is None if the detector's backbone is a supernet.
    `data` and `seed` are those of the run that trained it, with which a validation set that was split off the training
    images is split off again; files without them have the defaults.
    """

    space: SearchSpace
    architecture: Architecture | None
    settings: DetectorSettings
    categories: tuple[tuple[int, str], ...]
    shuffle: Shuffle = "even_odd"
    data: DataSettings = field(default_factory=DataSettings)
    seed: int = 0

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become the input of the network."""
        return self.settings.preprocessing

    def build(self) -> Detector:
        """The detector, with fresh weights."""
        backbone = _build_backbone(self.space, self.architecture, self.shuffle)
        return build_detector(backbone, len(self.categories), self.settings)


def _build_backbone(space: SearchSpace, architecture: Architecture | None, shuffle: Shuffle) -> Subnet | Supernet:
    return Supernet(space, shuffle) if architecture is None else Subnet(space, architecture, shuffle)


def save_detector(path: Path, detector: Detector, info: DetectorInfo) -> None:
    """Write the weights file of a detector, with `info` as its metadata."""
    metadata = {
        "format": DETECTOR,
        "detector": info.settings.model_dump_json(),
        "categories": json.dumps(info.categories),
        "data": info.data.model_dump_json(),
        "seed": str(info.seed),
    }
    _save(path, detector, info, metadata)


def save_backbone(path: Path, backbone: Subnet | Supernet, info: BackboneInfo) -> None:
    """Write the weights file of a backbone alone, with `info` as its metadata."""
    _save(path, backbone, info, {"format": BACKBONE, "preprocessing": info.preprocessing.model_dump_json()})


def _save(path: Path, model: nn.Module, info: BackboneInfo | DetectorInfo, metadata: dict[str, str]) -> None:
    space = info.space
    versions = {"detnas": __version__, "torch": torch.__version__, "torchvision": torchvision.__version__}
    metadata |= {
        "space": json.dumps([space.name, space.stem, space.channels, space.repeats]),
        "shuffle": info.shuffle,
        "versions": json.dumps(versions),
        DIGEST: NO_DIGEST,
    }
    if space.ops != PAPER_OPS:
        metadata["ops"] = json.dumps(space.ops)
    layout = (space.family, space.first_block, space.stage_strides)
    if layout != ("shufflenet", None, (2,) * len(space.channels)):
        metadata["layout"] = json.dumps(layout)
    if info.architecture is not None:
        metadata["architecture"] = str(info.architecture)
    tensors = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    write_file(path, lambda file: file.write(with_digest(_in_order(save(tensors, metadata)))))


def _in_order(data: bytes) -> bytes:
    """The file with its metadata sorted: safetensors writes them in a different order each time."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at multiples of eight
    return len(text).to_bytes(8, "little") + text + data[start:]


def load_detector(path: Path, ops: Collection[str] = ()) -> tuple[Detector, DetectorInfo]:
    """The detector of a weights file, in evaluation mode on the CPU, and the file's metadata.

    `ops` is as in `load_weights`. Raises `UserError` if the file is missing, is not a weights file of detnas, or holds
    no detector that could detect.
    """
    model, info = load_weights(path, ops)
    if not isinstance(info, DetectorInfo):
        raise UserError(f"{path}: holds a backbone alone, which detects nothing; name a detector.safetensors")
    if info.architecture is None:
        raise UserError(
            f"{path}: holds a supernet's detector, which detects once an architecture is chosen; name the "
            "detector.safetensors of a single network"
        )
    return model, info


def load_weights(path: Path, ops: Collection[str] = ()) -> tuple[nn.Module, BackboneInfo | DetectorInfo]:
    """The network of a weights file of either kind, in evaluation mode on the CPU, and the file's metadata.

    A file of a network with custom ops says where they are imported from. Only those named in `ops` are imported: a
    file is data, and must not choose what code runs.

    Raises `UserError` if the file is missing, is not a weights file of detnas or was written by another version, or has
    a custom op that `ops` does not name or that cannot be imported.
    """
    header = _read_header(path)
    try:
        info = _read_info(header.metadata)
    except DAMAGE as error:
        raise _damaged(path, error) from None
    _check_ops(path, info.space, ops)
    try:
        _check_tensors(info, header)
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in header.tensors}
        model = info.build()
        model.load_state_dict(tensors)
    except (*DAMAGE, SafetensorError, OSError) as error:
        raise _damaged(path, error) from None
    return model.eval(), info


def is_weights_file(path: Path) -> bool:
    """Whether a file says that it is a weights file of detnas, of whatever version."""
    try:
        return read_header(path).metadata.get("format", "").startswith("detnas-")
    except (OSError, ValueError):
        return False


def _read_header(path: Path) -> Header:
    """The header of a weights file of this version."""
    if is_folder(path):
        raise UserError(f"{path}: not a weights file (it is a folder); name a detector.safetensors")
    try:
        header = read_header(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; name a detector.safetensors that `detnas run` wrote") from None
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{path}: not a weights file, or damaged ({reason}); name a detector.safetensors") from None
    format = header.metadata.get("format", "")
    if format not in (DETECTOR, BACKBONE):
        if not format.startswith(("detnas-detector-", "detnas-backbone-")):
            raise UserError(f"{path}: its metadata is not that of a detnas network; name a detector.safetensors")
        raise UserError(
            f"{path}: written by another version of detnas (its format is {format[:40]}, and this version reads "
            f"{DETECTOR} and {BACKBONE}); install the version of detnas that wrote it"
        )
    return header


def _check_tensors(info: BackboneInfo | DetectorInfo, header: Header) -> None:
    """Raise `ValueError` unless the header has the tensors of the network that the metadata describe: before memory is
    taken for a network that is larger than its file."""
    if any(IMPORT_STRING.fullmatch(op) for op in info.space.ops):
        return  # code that the user trusts, and that need not be able to run without memory
    if "skip" not in info.space.ops and len(header.tensors) < sum(info.space.repeats):
        raise ValueError("it has fewer tensors than blocks")  # each of which has some; to build many takes seconds
    with torch.device("meta"):
        expected = info.build().state_dict()
    if expected.keys() != header.tensors.keys():
        count = len(expected.keys() ^ header.tensors.keys())
        raise ValueError(f"{count:,} tensors are missing, or not of the network that its metadata describe")
    for name, tensor in expected.items():
        if not header.tensors[name].fits(tensor):
            raise ValueError(f"{name} is not of the shape and type that its metadata imply")


def _damaged(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200]
    return UserError(f"{path}: damaged, or of another version of detnas ({reason}); write it again")


def _check_ops(path: Path, space: SearchSpace, allowed: Collection[str]) -> None:
    """Raise `UserError` unless all ops are detnas's, or can be imported and are `allowed` to be."""
    custom = [op for op in space.ops if IMPORT_STRING.fullmatch(op)]
    refused = [op for op in custom if op not in allowed]
    if refused:
        raise UserError(
            f"{path}: has ops that are not detnas's ({', '.join(refused)}), which would be imported; if you trust that "
            f"code, say {' '.join(f'--op {op}' for op in refused)}, or in Python ops={refused}"
        )
    for op in custom:
        find_op(op)


def _read_info(texts: dict[str, str]) -> BackboneInfo | DetectorInfo:
    record = read_metadata(texts)
    space = record.search_space()
    if isinstance(record, BackboneMetadata):
        return BackboneInfo(space, record.architecture, record.preprocessing, record.shuffle)
    return DetectorInfo(
        space=space,
        architecture=record.architecture,
        settings=record.detector,
        categories=tuple(record.categories),
        shuffle=record.shuffle,
        data=record.data,
        seed=int(record.seed),
    )
