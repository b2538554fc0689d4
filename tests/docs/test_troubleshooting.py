"""The messages that docs/troubleshooting.md quotes are those of the code."""

import ast
import re
from collections.abc import Iterator

from paths import ROOT

TEXT = (ROOT / "docs/troubleshooting.md").read_text()


def texts() -> Iterator[str]:
    """Those in the source, with … for what is put in."""
    for file in (ROOT / "detnas").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_quoted_message_is_one_of_the_code() -> None:
    quoted = re.findall(r"^\| `([^`]+)` \|", TEXT, re.MULTILINE)
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| you see")]
    assert len(quoted) == len(rows) > 50
    known = "\n".join(" ".join(text.splitlines()) for text in texts())
    pieces = {message: [piece for piece in message.split("…") if piece.strip()] for message in quoted}
    assert [message for message, parts in pieces.items() if max(map(len, parts)) < 10] == []  # says enough
    patterns = {message: ".*".join(map(re.escape, parts)) for message, parts in pieces.items()}
    assert [message for message, pattern in patterns.items() if not re.search(pattern, known)] == []
