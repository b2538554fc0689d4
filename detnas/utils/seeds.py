"""Randomness as a function of (seed, what, step): resuming a run needs no saved generator state."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from `parts`, the same on every machine and with every version of Python."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
