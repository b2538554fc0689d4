"""Checkpoints: what a training that was cut continues from, and where later stages take the weights from.

Each is a file of its own, named by its step; the last two are kept. It ends in the SHA-256 of all before it, so that a
damaged one is never used: torch alone reads many without a complaint.
"""

import hashlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from detnas.distributed import comm
from detnas.rundir.layout import TRAINING_DONE, checkpoint_path, checkpoint_paths, checkpoint_step
from detnas.utils.errors import UserError
from detnas.utils.files import write_file

KEPT = 2
DIGEST = hashlib.sha256().digest_size


def save_checkpoint(directory: Path, step: int, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings, lists and dictionaries) as the checkpoint after `step` steps.

    The one before it is kept, and no other.
    """
    # To memory first: where the disk is full, torch would fail without saying so.
    buffer = io.BytesIO()
    torch.save(_plain(state), buffer)
    digest = hashlib.sha256(buffer.getbuffer()).digest()
    buffer.write(digest)
    write_file(checkpoint_path(directory, step), lambda file: file.write(buffer.getbuffer()))
    for path in checkpoint_paths(directory):
        # A later one was damaged, or the training would have gone on from there.
        if checkpoint_step(path) > step:
            path.unlink()
    for path in checkpoint_paths(directory)[KEPT:]:
        path.unlink()


def newest_checkpoint(directory: Path, log: Callable[[str], None]) -> dict[str, Any] | None:
    """The state in the newest checkpoint that is whole, on the CPU; None if there is none. Damage is reported to `log`.

    Of several processes the first one reads it, for all. Raises `UserError` if there are some, and none is whole.
    """
    data = comm.broadcast_bytes(lambda: _newest(directory, log))
    return _load(data) if data else None


def _newest(directory: Path, log: Callable[[str], None]) -> bytes:
    """What the newest checkpoint that is whole holds; nothing if there is no checkpoint."""
    damaged: list[str] = []
    for path in checkpoint_paths(directory):
        data = _whole(path)
        if data is not None:
            if damaged:
                log(f"  {directory}: {', '.join(damaged)} is damaged; going on from step {checkpoint_step(path)}")
            return data
        damaged.append(path.name)
    if damaged:
        raise UserError(
            f"{directory}: of its checkpoints ({', '.join(damaged)}) none is whole; remove this folder, and the same "
            "command trains it again"
        )
    return b""


def is_trained(directory: Path) -> bool:
    """Whether the training in `directory` is done, and its last checkpoint whole."""
    return comm.broadcast_from_main(lambda: TRAINING_DONE.exists(directory) and _whole(_last(directory)) is not None)


def load_weights(model: nn.Module, directory: Path, part: str = "") -> None:
    """Load into `model` the weights of the finished training in `directory`, or those of its module named `part`.

    They are the averaged ones if the training averaged. Raises `UserError` if its last checkpoint is damaged.
    """
    state = _load(comm.broadcast_bytes(lambda: _finished(directory)))
    prefix = f"{part}." if part else ""
    weights = state["average"]["weights"] if "average" in state else state["model"]
    model.load_state_dict({name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)})


def weights_digest(directory: Path) -> str:
    """The SHA-256 of the last checkpoint of the finished training in `directory`, as it says itself."""
    return _last(directory).read_bytes()[-DIGEST:].hex()


def _plain(value: Any) -> Any:
    """The same without what pickles differently in a training that was cut: strings and tuples that are equal but not
    one object, or the other way round."""
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return sys.intern(value) if isinstance(value, str) else value


def _finished(directory: Path) -> bytes:
    """What the last checkpoint of a finished training holds."""
    if not TRAINING_DONE.exists(directory):
        raise UserError(
            f"{directory}: this training is not done; `detnas run`, with the --out of this run, finishes it"
        )
    data = _whole(_last(directory))
    if data is None:
        raise UserError(
            f"{_last(directory)}: damaged or missing; `detnas run`, with the recipe and the --out of this run, trains "
            "its last steps again"
        )
    return data


def _last(directory: Path) -> Path:
    return checkpoint_path(directory, TRAINING_DONE.read(directory).steps)


def _whole(path: Path) -> bytes | None:
    """What a checkpoint's file holds, or None if it is damaged, missing or unreadable."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(memoryview(data)[:-DIGEST]).digest() == data[-DIGEST:] else None


def _load(data: bytes) -> dict[str, Any]:
    # The digest at the end is in nobody's way: an archive may be followed by other bytes.
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state
