"""Checkpoints: an interrupted training continues from them, and later stages load weights from them.

Each checkpoint is a file named by its step; the last two are kept. A file ends with the SHA-256 of everything before
it, so that a damaged one is never used: torch reads many damaged files without an error.
"""

import hashlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from detnas.distributed import comm
from detnas.rundir.layout import TRAINING_DONE, checkpoint_path, checkpoint_paths, checkpoint_step
from detnas.utils.errors import UserError
from detnas.utils.files import explain_unwritable, is_file, write_file

KEPT = 2
DIGEST = hashlib.sha256().digest_size
State = Literal["intact", "damaged", "missing", "not done"]
"""Of the last checkpoint of a training that is done."""


def save_checkpoint(directory: Path, step: int, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings, lists, dictionaries); keep the checkpoint before it, and no other."""
    # To memory first: torch does not say that the disk is full.
    buffer = io.BytesIO()
    torch.save(_plain(state), buffer)
    buffer.write(hashlib.sha256(buffer.getbuffer()).digest())
    write_file(checkpoint_path(directory, step), lambda file: file.write(buffer.getbuffer()))
    # A later one is damaged: otherwise the training would have continued from there.
    later = [path for path in checkpoint_paths(directory) if checkpoint_step(path) > step]
    for path in later + checkpoint_paths(directory)[len(later) + KEPT :]:
        with explain_unwritable(path):
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


def is_done(directory: Path) -> bool:
    """Whether the training in `directory` is done. Its checkpoints may be gone."""
    return comm.broadcast_from_main(lambda: TRAINING_DONE.find_intact(directory) is not None)


def training_state(directory: Path) -> State:
    """Whether the training in `directory` is done, and if so, the state of its last checkpoint."""
    return comm.broadcast_from_main(lambda: _state(directory))


def has_checkpoint(directory: Path) -> bool:
    """Whether the training in `directory` would continue, and not begin."""
    return comm.broadcast_from_main(lambda: bool(checkpoint_paths(directory)))


def _state(directory: Path) -> State:
    done = TRAINING_DONE.find_intact(directory)
    if done is None:
        return "not done"
    path = checkpoint_path(directory, done.steps)
    if not os.path.lexists(path):
        return "missing"
    return "damaged" if _read_intact(path) is None else "intact"


def load_weights(model: nn.Module, directory: Path, part: str = "") -> None:
    """Load into `model` the weights of the finished training in `directory`, or those of its module named `part`.

    They are the averaged weights if the training averages. Raises `UserError` if its last checkpoint is damaged or
    missing.
    """
    model.load_state_dict(_weights(comm.broadcast_bytes(lambda: _finished(directory)), part))


def finished_weights(directory: Path, part: str) -> dict[str, Tensor]:
    """What `load_weights` loads, read by this process alone, as from another run."""
    return _weights(_finished(directory), part)


def weights_digest(directory: Path) -> str:
    """The SHA-256, in hexadecimal, that the last checkpoint of the finished training in `directory` ends with.

    Raises `UserError` if that is missing.
    """
    try:
        return checkpoint_path(directory, TRAINING_DONE.read(directory).steps).read_bytes()[-DIGEST:].hex()
    except OSError:
        return _finished(directory)[-DIGEST:].hex()


def _weights(data: bytes, part: str) -> dict[str, Tensor]:
    state = _load(data)
    prefix = f"{part}." if part else ""
    weights = state["ema"]["weights"] if "ema" in state else state["model"]
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


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
    done = TRAINING_DONE.find_intact(directory)
    if done is None:
        raise UserError(
            f"{directory}: this training is not done; `detnas run`, with the --out of this run, finishes it"
        )
    path = checkpoint_path(directory, done.steps)
    data = _read_intact(path)
    if data is not None:
        return data
    if os.path.lexists(path):
        raise UserError(
            f"{path}: damaged; `detnas run`, with the recipe and the --out of this run, trains its last steps again"
        )
    raise UserError(
        f"{path}: missing; delete {TRAINING_DONE.path(directory)}, and `detnas run`, with the recipe and the --out of "
        "this run, trains it again"
    )


def _read_intact(path: Path) -> bytes | None:
    """The bytes of a checkpoint, or None if the file is damaged, missing or unreadable."""
    if not is_file(path):
        return None
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(memoryview(data)[:-DIGEST]).digest() == data[-DIGEST:] else None


def _load(data: bytes) -> dict[str, Any]:
    # torch.load ignores the digest at the end: other bytes may follow a zip archive.
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state
