"""Weights files as strangers would write them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Tree = dict[str, Any]


def read_parts(path: Path) -> tuple[Tree, bytes]:
    """The header and the tensors' bytes of a safetensors file."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:start]), data[start:]


def write_parts(path: Path, header: Tree | bytes, tensors: bytes) -> Path:
    """A safetensors file, whatever its header says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + tensors)
    return path


def rewrite(source: Path, target: Path, metadata: Mapping[str, object], change: Callable[[Tree], object] = id) -> Path:
    """A copy without digest, with other `metadata` (None removes a key), and with what `change` does to the header."""
    header, tensors = read_parts(source)
    texts = header["__metadata__"] | {"sha256": None} | metadata
    header["__metadata__"] = {key: value for key, value in texts.items() if value is not None}
    change(header)
    return write_parts(target, header, tensors)
