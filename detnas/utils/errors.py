"""The error that users can fix."""

import difflib
from collections.abc import Collection
from typing import TYPE_CHECKING

from detnas.utils.text import MOST_LETTERS, printable

if TYPE_CHECKING:
    from pydantic import ValidationError


class UserError(Exception):
    """What the user asked for cannot work.

    The message is one line that names the file or field, the value, and the remedy. The command line prints it
    without a traceback and exits with status 2. Any other exception from a public function is a bug of detnas or of
    one of its dependencies: please report it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message, MOST_LETTERS))  # names and values from files may hold anything


def describe_invalid(error: "ValidationError") -> str:
    """The place and the kind of the first thing that pydantic found wrong, without its value."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place, message = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def suggestion(name: str, known: Collection[str]) -> str:
    """The remedy for an unknown `name`: the most similar of the `known` names, or all of them."""
    close = difflib.get_close_matches(name[:100].lower(), known, n=1)
    return f"did you mean {close[0]}?" if close else f"choose one of {', '.join(known)}"
