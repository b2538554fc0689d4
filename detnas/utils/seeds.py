"""Randomness as a function of (seed, what, step): nothing has to be saved for a run to continue exactly."""

import hashlib


def derive_seed(*what: int | str) -> int:
    """A 63-bit seed from the parts, the same on every machine and for every Python version."""
    text = "\x1f".join(str(part) for part in what)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
