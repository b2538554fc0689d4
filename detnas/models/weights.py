"""The weights file of a detector: its tensors, and all that is needed to use them, in one safetensors file."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torchvision
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from detnas.config import DataSettings, DetectorSettings, FPNSettings, RetinaNetSettings
from detnas.errors import UserError
from detnas.files import write_file
from detnas.models.backbone import Subnet
from detnas.models.blocks import Shuffle
from detnas.models.detectors import Detector, build_detector
from detnas.spaces import Architecture, SearchSpace
from detnas.version import __version__


@dataclass(frozen=True)
class DetectorInfo:
    """What a weights file says about its detector. `categories`: (id, name) by label, from 0.

    `data` and `seed` are those of the run that trained it: by them a validation set that was cut from the training
    pictures is cut again. Files that do not say have the defaults.
    """

    space: SearchSpace
    architecture: Architecture
    settings: FPNSettings | RetinaNetSettings
    categories: tuple[tuple[int, str], ...]
    shuffle: Shuffle = "even_odd"
    data: DataSettings = field(default_factory=DataSettings)
    seed: int = 0

    def build(self) -> Detector:
        """The detector, with fresh weights."""
        return build_detector(Subnet(self.space, self.architecture, self.shuffle), len(self.categories), self.settings)


def save_detector(path: Path, detector: Detector, info: DetectorInfo) -> None:
    """Write the weights file. `info.settings` holds the pre-processing too (size, mean and standard deviation)."""
    space = info.space
    metadata = {
        "format": "detnas-detector-1",
        "space": json.dumps([space.name, space.stem, space.channels, space.repeats]),
        "architecture": str(info.architecture),
        "shuffle": info.shuffle,
        "detector": info.settings.model_dump_json(),
        "categories": json.dumps(info.categories),
        "data": info.data.model_dump_json(),
        "seed": str(info.seed),
        "versions": json.dumps(
            {"detnas": __version__, "torch": torch.__version__, "torchvision": torchvision.__version__}
        ),
    }
    tensors = {name: tensor.contiguous().cpu() for name, tensor in detector.state_dict().items()}
    write_file(path, lambda file: file.write(_in_order(save(tensors, metadata))))


def _in_order(data: bytes) -> bytes:
    """The file with its metadata sorted: safetensors writes them in another order each time."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at multiples of eight
    return len(text).to_bytes(8, "little") + text + data[start:]


def load_detector(path: Path) -> tuple[Detector, DetectorInfo]:
    """Read a weights file: the detector in evaluation mode on the CPU, and what the file says about it.

    Raises `UserError` if the file is missing or not a weights file of detnas.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; name a detector.safetensors that `detnas run` wrote") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a weights file ({error}); name a detector.safetensors") from None
    if metadata.get("format") != "detnas-detector-1":
        raise UserError(f"{path}: its metadata is not that of a detnas detector; name a detector.safetensors")
    try:
        info = _read_info(metadata)
        detector = info.build()
        detector.load_state_dict(tensors)
    except (UserError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: damaged, or of another version of detnas ({reason}); write it anew") from None
    return detector.eval(), info


def _read_info(metadata: dict[str, str]) -> DetectorInfo:
    name, stem, channels, repeats = json.loads(metadata["space"])
    return DetectorInfo(
        space=SearchSpace(name, stem, tuple(channels), tuple(repeats)),
        architecture=Architecture.parse(metadata["architecture"]),
        settings=TypeAdapter(DetectorSettings).validate_json(metadata["detector"]),
        categories=tuple((id, name) for id, name in json.loads(metadata["categories"])),
        shuffle=TypeAdapter(Shuffle).validate_python(metadata.get("shuffle", "even_odd")),
        data=DataSettings.model_validate_json(metadata.get("data", "{}")),
        seed=int(metadata.get("seed", 0)),
    )
