"""The modules of the standard library that only Linux and macOS have."""

from detnas.utils.errors import UserError

try:
    import fcntl
    import resource
except ImportError:
    raise UserError(
        "needs Linux or macOS (it locks files by fcntl, which Windows lacks); on Windows use WSL 2"
    ) from None

__all__ = ["fcntl", "resource"]
