"""Conversion of the official code's weights to weights files."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from detnas.models.official import read_official
from detnas.models.ops.shuffle import Shuffle
from detnas.models.weights import BackboneInfo, save_backbone, save_detector
from detnas.utils.errors import UserError


def import_weights(checkpoint: Path, name: str, out: Path, shuffle: str | None) -> Iterator[str]:
    """Convert the official checkpoint of network `name`; yields lines of text. Raises `UserError` if it cannot."""
    shuffles: dict[str | None, Shuffle | None] = {None: None} | {shuffle: shuffle for shuffle in get_args(Shuffle)}
    if shuffle not in shuffles:
        raise UserError(f"--shuffle {shuffle}: choose one of {', '.join(get_args(Shuffle))}")
    if out.is_dir() or (out.exists() and checkpoint.exists() and out.samefile(checkpoint)):
        reason = "a folder" if out.is_dir() else "the checkpoint itself"
        raise UserError(f"--out {out}: is {reason}; name another file, such as {name}.safetensors")
    imported = read_official(checkpoint, name, shuffles[shuffle])
    info = imported.info
    if isinstance(info, BackboneInfo):
        save_backbone(out, imported.model, info)
        yield f"{out}: the backbone {name}"
    else:
        save_detector(out, imported.model, info)
        names = ", ".join(name for _, name in info.categories[:3])
        yield f"{out}: the detector {name} ({info.settings.type}), {len(info.categories)} categories ({names}, …)"
    yield f"  channels split as {info.shuffle}; images are fed as BGR values in 0-255"
    if imported.left_out:
        yield f"  left out, since a backbone has no such tensors: {', '.join(imported.left_out)}"
