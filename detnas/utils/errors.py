"""The one kind of error that is the user's to mend."""

import difflib
from collections.abc import Collection


class UserError(Exception):
    """Something the user asked for cannot work.

    The message is one line that names the file or field, the value, and the remedy. The command line prints it
    and exits with status 2; there is no traceback. Any other error from a public function is a defect of detnas,
    or of what it was built with: please report it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # names and values from files may have several lines


def suggestion(name: str, known: Collection[str]) -> str:
    """The remedy for an unknown `name`: the nearest of the names that are known, or all of them."""
    close = difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean {close[0]}?" if close else f"choose one of {', '.join(known)}"
