"""Paths that no program can use, wherever a command takes one."""

from pathlib import Path

import pytest
from shell import Shell

LONG = "x" * 300


@pytest.mark.parametrize(
    "words",
    [
        ("run", "{}"),
        ("run", "own-data-quick", "--data", "{}"),
        ("run", "shapes-quick", "--out", "{}"),
        ("search", "{}"),
        ("status", "{}"),
        ("report", "{}"),
        ("evaluate", "{}", "--data", "set"),
        ("predict", "{}", "a.png", "--out", "out"),
        ("export", "{}"),
        ("data", "check", "{}"),
        ("data", "shapes", "{}"),
        ("import", "{}", "--as", "detnas-fpn-300m", "--out", "a.safetensors"),
        ("bench-latency", "{}"),
    ],
    ids=lambda words: " ".join(word for word in words if "{" not in word),
)
def test_a_path_that_cannot_be_used_is_named_in_one_line(
    words: tuple[str, ...], shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = shell.refused(*(word.replace("{}", LONG) for word in words))
    assert LONG[:40] in said and not any((tmp_path / "runs").glob("*"))


@pytest.mark.parametrize(
    "words",
    [
        ("run", "{}"),
        ("run", "own-data-quick", "--data", "{}"),
        ("run", "shapes-quick", "--out", "{}"),
        ("run", "shapes-quick", "--set", "budget.latencies={}", "--set", "budget.latency_max=9"),
        ("search", "{}"),
        ("report", "{}"),
        ("data", "check", "{}"),
        ("data", "shapes", "{}"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("inner", ["", "/inner"])
def test_a_link_to_itself_is_named_in_one_line(
    words: tuple[str, ...], inner: str, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    assert "loop" in shell.refused(*(word.replace("{}", f"loop{inner}") for word in words))
