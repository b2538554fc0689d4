"""The frame of a weights file: the header of safetensors, read before anything that it says is believed.

A file is eight bytes with the length of the header, the header in JSON, and the tensors' bytes one after another. The
header has each tensor's dtype, shape and place, and `__metadata__`, texts by key. Among them is a digest of the whole
file, which shows damage that leaves everything readable, such as a flipped bit of a weight.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor

from detnas.utils.files import open_regular
from detnas.utils.json_text import parse_json

METADATA = "__metadata__"
DIGEST = "sha256"
"""The key of the digest: SHA-256, in hexadecimal, of the file with zeros in its place. Files of earlier versions have
none."""
NO_DIGEST = "0" * 64
MOST_HEADER_BYTES = 2**23
"""More than those of a supernet of 200 blocks and ten ops."""
MOST_TENSORS = 100_000
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_HEX = re.compile(r"[0-9a-f]{64}")
_CHUNK = 2**20

Size = Annotated[int, Field(ge=0, le=2**50)]


class TensorEntry(BaseModel):
    """What a header says about a tensor."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    dtype: str
    shape: Annotated[list[Size], Field(max_length=8)]
    data_offsets: Annotated[list[Size], Field(min_length=2, max_length=2)]

    def fits(self, tensor: Tensor) -> bool:
        """Whether it has the dtype and the shape of `tensor`."""
        return DTYPES.get(self.dtype) == tensor.dtype and tuple(self.shape) == tuple(tensor.shape)


@dataclass(frozen=True)
class Header:
    """A header whose tensors fill the file without gaps."""

    metadata: dict[str, str]
    tensors: dict[str, TensorEntry]


def read_header(path: Path) -> Header:
    """The header of the weights file `path`.

    Raises `FileNotFoundError` or another `OSError` if it cannot be read, and `ValueError` with one line if it is no
    safetensors file, if its tensors do not fill it exactly, or if it has a digest that is not its own.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(size - 8, MOST_HEADER_BYTES):
            raise ValueError("it is no safetensors file")
        text = file.read(length)
        header = _parse(text, size - 8 - length)
        _check_digest(header.metadata.get(DIGEST), start + text, file)
    return header


def is_intact(path: Path) -> bool:
    """Whether a weights file is readable and of the digest that it holds, as every file of this version does."""
    try:
        return DIGEST in read_header(path).metadata
    except (OSError, ValueError):
        return False


def with_digest(data: bytes) -> bytes:
    """A weights file whose digest is still `NO_DIGEST`, with its digest."""
    digest = hashlib.sha256(data).hexdigest()
    return data.replace(_entry(NO_DIGEST), _entry(digest), 1)


def _entry(digest: str) -> bytes:
    """The digest's place in a header. It occurs nowhere else: within texts, quotation marks have backslashes."""
    return f'"{DIGEST}":"{digest}"'.encode()


def _parse(text: bytes, data_bytes: int) -> Header:
    tree = parse_json(text)
    if not isinstance(tree, dict) or len(tree) > MOST_TENSORS:
        raise ValueError("its header holds no tensors, or too many")
    metadata: Any = tree.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are no texts")
    try:
        tensors = TypeAdapter(dict[str, TensorEntry]).validate_python(tree)
    except ValidationError:
        raise ValueError("its header describes no tensors") from None
    _check_places(tensors, data_bytes)
    return Header(metadata, tensors)


def _check_places(tensors: dict[str, TensorEntry], data_bytes: int) -> None:
    end = 0
    for entry in sorted(tensors.values(), key=lambda one: one.data_offsets):
        start, stop = entry.data_offsets
        if entry.dtype not in DTYPES:
            raise ValueError("it has tensors of a type that no network of detnas has")
        if start != end or stop - start != prod(entry.shape) * DTYPES[entry.dtype].itemsize:
            raise ValueError("its tensors are not where its header says, or not as large")
        end = stop
    if end != data_bytes:
        raise ValueError("it is cut, or longer than its header says")


def _check_digest(said: str | None, start: bytes, rest: IO[bytes]) -> None:
    if said is None:
        return
    if not _HEX.fullmatch(said) or start.count(_entry(said)) != 1:
        raise ValueError("its digest is damaged, or its header was written again")
    digest = hashlib.sha256(start.replace(_entry(said), _entry(NO_DIGEST)))
    while chunk := rest.read(_CHUNK):
        digest.update(chunk)
    if digest.hexdigest() != said:
        raise ValueError("its content is not what its digest says: it was changed after it was written")
