"""State dicts in files that others wrote, which are read as data."""

import hashlib
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from detnas.models.weights_header import read_header
from detnas.utils.errors import UserError
from detnas.utils.files import open_regular
from detnas.utils.text import describe_value

SHOWN = 2
"""The most names of tensors that a message lists, of each kind."""


def load_checkpoint(path: Path) -> Any:
    """What torch.load reads from a file with `weights_only=True`. Raises `UserError` if that is not possible."""
    try:
        open_regular(path).close()
        _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles that are refused anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); name a checkpoint's file") from None
    except UserError:
        raise
    except Exception:  # an unpickler may raise anything
        raise UserError(
            f"{path}: no PyTorch checkpoint, or a pickle of more than tensors (as Caffe2's are), which could run "
            "anything when it is read; give a file that torch.load reads with weights_only=True"
        ) from None


def _check_archive(path: Path) -> None:
    """Refuse a compressed archive, which may hold a thousand times its size; torch.save compresses nothing."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist()):
                raise UserError(f"{path}: is compressed, which torch.save never does; give the original checkpoint")


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor holds each of its values: none that repeats a few of them, or has none, for a huge shape."""
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        return False
    holds = tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.element_size()
    return holds and (tensor.is_floating_point() or tensor.dtype == torch.int64)


def file_digest(path: Path) -> str:
    """The SHA-256 of a regular file, in hexadecimal. Raises `OSError` if it cannot be read."""
    with open_regular(path) as file:
        return hashlib.sha256(file.read()).hexdigest()


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The state dict of a checkpoint or a safetensors file. Raises `UserError` if it cannot be read as data."""
    if path.suffix != ".safetensors":
        return state_dict_of(load_checkpoint(path), str(path))
    try:
        header = read_header(path)
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in header.tensors}
    except (OSError, ValueError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(
            f"{path}: cannot be read ({reason}); name a safetensors file, or a PyTorch checkpoint"
        ) from None
    return state_dict_of(tensors, str(path))


def state_dict_of(checkpoint: Any, where: str) -> dict[str, Tensor]:
    """The state dict inside a checkpoint, without the prefix that DataParallel puts before its keys.

    Raises `UserError`, which begins with `where`, if it holds none, or one of other things than plain tensors.
    """
    for wrapper in ("model", "state_dict"):
        if isinstance(checkpoint, Mapping) and isinstance(checkpoint.get(wrapper), Mapping):
            checkpoint = checkpoint[wrapper]
    if not isinstance(checkpoint, Mapping) or not checkpoint:
        raise UserError(f"{where}: holds no state dict; give a checkpoint that holds one")
    strange = [key for key, value in checkpoint.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if strange:
        what = describe_value(strange[0])
        raise UserError(f"{where}: {what} is no tensor; give a state dict, or a checkpoint that holds one")
    for key, tensor in checkpoint.items():
        if not _is_plain(tensor):
            raise UserError(f"{where}: {describe_value(key)} is no plain tensor of numbers; give another checkpoint")
    wrapped = all(key.startswith("module.") for key in checkpoint)
    return {key.removeprefix("module.") if wrapped else key: tensor for key, tensor in checkpoint.items()}


def check_tensors(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], where: str, remedy: str
) -> None:
    """Raise `UserError` if a tensor of `shapes` is missing or of another shape, or if there is another one.

    Counts of batches, which evaluation does not use, may be missing, as in files of old versions of PyTorch.
    """
    missing = [name for name in shapes if name not in tensors and not name.endswith("num_batches_tracked")]
    unknown = [name for name in tensors if name not in shapes]
    misshapen = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(shape)}"
        for name, shape in shapes.items()
        if name in tensors and tensors[name].shape != shape
    ]
    wrong = [
        f"{len(found)} {what} ({', '.join(found[:SHOWN])}{', …' if len(found) > SHOWN else ''})"
        for what, found in (("missing", missing), ("unknown", unknown), ("of another shape", misshapen))
        if found
    ]
    if wrong:
        raise UserError(f"{where}: of its tensors {', '.join(wrong)}; {remedy}")
