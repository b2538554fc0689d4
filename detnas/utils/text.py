"""Text that comes from files and users, made fit for a terminal, a message or a name.

Such text may hold anything: control characters that a terminal obeys, a million letters, a password.
"""

import re
import reprlib

MOST_LETTERS = 1000
"""Of a message."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
"""A name that may become part of a path or of generated code: letters, digits, dots, hyphens and underscores."""
NAME_RULE = "1 to 200 letters, digits, dots, hyphens and underscores, and no dot or hyphen first"

_LINE_BREAKS = re.compile(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")
_NOT_PRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters of the C0 and C1 sets, those that reorder text, and surrogates, which cannot be encoded."""
_ADDRESS = re.compile(r"://(?:[^@/\n]{0,200}@)?[^\s'\"]+")
"""Before its first @, it may hold blanks and quotation marks: passwords do."""
_PASSWORD = re.compile(
    r"""((?:password|passwd|passphrase|pwd|secret)\w{0,30}["']?\s{0,3}[=:]\s{0,3})(?!\*\*\*)"""
    r"""(?:'[^']*'|"[^"]*"|[^\s,;&'"]+)""",
    re.IGNORECASE,
)


def printable(text: str, most: int = 100_000) -> str:
    """`text` on one line, with control characters written as escapes and passwords as `***`.

    Of a text of more than `most` letters the middle is left out. Doing this again changes nothing.
    """
    text = _PASSWORD.sub(r"\1***", _ADDRESS.sub(_hide_passwords, text))
    if len(text) > most:
        text = f"{text[: most // 2]} … {text[len(text) - most + most // 2 + 3 :]}"
    return _NOT_PRINTABLE.sub(lambda found: ascii(found[0])[1:-1], _LINE_BREAKS.sub(" ", text))


def _hide_passwords(address: re.Match[str]) -> str:
    """An address without its password, and without all parameters but those that name a server."""
    before, at, after = address[0].rpartition("@")
    if at:
        user, _, password = before.removeprefix("://").partition(":")
        before = f"://{user}:***" if password else before
    place, mark, query = f"{before}{at}{after}".partition("?")
    names = (parameter.partition("=") for parameter in re.split("[&;]", query))
    shown = (
        f"{name}={value if name in ('host', 'port') else '***'}" if equals else "***" for name, equals, value in names
    )
    return f"{place}?{'&'.join(shown)}" if mark else place


def describe_value(value: object) -> str:
    """The `repr` of a value from a file, at most about 100 letters of it. Takes no time on large or nested values."""
    return _Repr().repr(value)


class _Repr(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 100
        self.maxlevel = 3

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write numbers of more digits than 4300.
        return super().repr_int(x, level) if x.bit_length() < 1000 else f"a number of {x.bit_length():,} bits"
