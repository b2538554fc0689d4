"""Checkpoints: an interrupted training continues from them, and later stages load weights from them.

Each checkpoint is a file named by its step; the last two are kept. A file ends with the SHA-256 of everything before
it, so that a damaged one is never used: torch reads many damaged files without an error.
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
    """Write `state` (tensors, numbers, strings, lists, dictionaries); keep the checkpoint before it, and no other."""
    # To memory first: torch does not say that the disk is full.
    buffer = io.BytesIO()
    torch.save(_plain(state), buffer)
    buffer.write(hashlib.sha256(buffer.getbuffer()).digest())
    write_file(checkpoint_path(directory, step), lambda file: file.write(buffer.getbuffer()))
    for path in checkpoint_paths(directory):
        # A later one is damaged: otherwise the training would have continued from there.
        if checkpoint_step(path) > step:
            path.unlink()
    for path in checkpoint_paths(directory)[KEPT:]:
        path.unlink()


def newest_checkpoint(directory: Path, log: Callable[[str], None]) -> dict[str, Any] | None:
    """The state in the newest intact checkpoint, on the CPU, or None if there is no checkpoint.

    Damaged checkpoints are reported to `log`. With several processes, the main process reads the file and broadcasts
    it. Raises `UserError` if there are checkpoints, but none is intact.
    """
    data = comm.broadcast_bytes(lambda: _newest(directory, log))
    return _load(data) if data else None


def _newest(directory: Path, log: Callable[[str], None]) -> bytes:
    """The bytes of the newest intact checkpoint; empty if there is no checkpoint."""
    damaged: list[str] = []
    for path in checkpoint_paths(directory):
        data = _read_intact(path)
        if data is not None:
            if damaged:
                log(f"  {directory}: {', '.join(damaged)} is damaged; continuing from step {checkpoint_step(path)}")
            return data
        damaged.append(path.name)
    if damaged:
        raise UserError(
            f"{directory}: of its checkpoints ({', '.join(damaged)}) none is whole; remove this folder, and the same "
            "command trains it again"
        )
    return b""


def is_trained(directory: Path) -> bool:
    """Whether the training in `directory` is done, and its last checkpoint intact."""
    return comm.broadcast_from_main(
        lambda: TRAINING_DONE.exists(directory) and _read_intact(_last(directory)) is not None
    )


def load_weights(model: nn.Module, directory: Path, part: str = "") -> None:
    """Load into `model` the weights of the finished training in `directory`, or those of its module named `part`.

    They are the averaged weights if the training averages. Raises `UserError` if its last checkpoint is damaged.
    """
    state = _load(comm.broadcast_bytes(lambda: _finished(directory)))
    prefix = f"{part}." if part else ""
    weights = state["ema"]["weights"] if "ema" in state else state["model"]
    model.load_state_dict({name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)})


def weights_digest(directory: Path) -> str:
    """The SHA-256, in hexadecimal, that the last checkpoint of the finished training in `directory` ends with."""
    return _last(directory).read_bytes()[-DIGEST:].hex()


def _plain(value: Any) -> Any:
    """A copy of `value` that pickles to the same bytes whether or not the training was interrupted.

    Pickle writes an object that occurs twice only once, and a state that was loaded shares other objects.
    """
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return sys.intern(value) if isinstance(value, str) else value


def _finished(directory: Path) -> bytes:
    """The bytes of the last checkpoint of a finished training."""
    if not TRAINING_DONE.exists(directory):
        raise UserError(
            f"{directory}: this training is not done; `detnas run`, with the --out of this run, finishes it"
        )
    data = _read_intact(_last(directory))
    if data is None:
        raise UserError(
            f"{_last(directory)}: damaged or missing; `detnas run`, with the recipe and the --out of this run, trains "
            "its last steps again"
        )
    return data


def _last(directory: Path) -> Path:
    return checkpoint_path(directory, TRAINING_DONE.read(directory).steps)


def _read_intact(path: Path) -> bytes | None:
    """The bytes of a checkpoint, or None if the file is damaged, missing or unreadable."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(memoryview(data)[:-DIGEST]).digest() == data[-DIGEST:] else None


def _load(data: bytes) -> dict[str, Any]:
    # torch.load ignores the digest at the end: other bytes may follow a zip archive.
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state
