"""The command line: its help, completion and errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from shell import Shell

import detnas

HEAVY = {
    *("torch", "torchvision", "numpy", "PIL", "optuna", "sqlalchemy", "plotly", "jinja2", "yaml", "rich"),
    *("safetensors", "tensorboard", "hotcoco"),
}
"""What detnas is built with, but for typer, and for pydantic, which typer itself imports to read options."""


def process(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", *words], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


@pytest.mark.parametrize("words", ["--help", "run --help", "--version", "data --help"])
def test_help_imports_nothing_heavy(words: str) -> None:
    script = f"""
import sys
sys.argv = ["detnas", *{words.split()!r}]
from detnas.cli.main import main
try:
    main()
except SystemExit as end:
    heavy = {HEAVY!r} & set(sys.modules)
    assert not end.code and not heavy, (end.code, heavy)
"""
    done = process(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_help_says_in_a_line_what_each_command_does(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a command's text it takes the first sentence, and cuts what has no room."""
    monkeypatch.setenv("COLUMNS", "80")
    for words in ("--help", "data --help"):
        _, commands = shell(*words.split()).split("Commands:\n")
        assert all(line.endswith(".") and not line.endswith("...") for line in commands.splitlines()), commands


def test_a_shell_completes_commands_and_recipes() -> None:
    script = """
        eval "$(detnas --show-completion)"
        for COMP_LINE in "detnas pro" "detnas run shapes-q" "detnas profile paper-voc"; do
            COMP_WORDS=($COMP_LINE)
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _detnas_completion detnas
            echo "${COMPREPLY[@]}"
        done
    """
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=os.environ | {"PATH": path})
    assert done.stderr == ""
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["profile"],
        ["shapes-quick", "shapes-quick-fpn"],
        ["paper-voc-fpn", "paper-voc-retinanet"],
    ]


@pytest.mark.slow
def test_the_installed_command_refuses_in_one_line_with_status_2(tmp_path: Path) -> None:
    words = ["run", "shapes-quick", "--out", str(tmp_path / "run"), "--data", str(tmp_path / "none")]
    script = Path(sys.executable).with_name("detnas")
    done = subprocess.run([str(script), *words], capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1 and "no such folder" in done.stderr
    assert not (tmp_path / "run").exists()


def test_version(shell: Shell) -> None:
    assert shell("--version").strip() == detnas.__version__


def test_an_unknown_command_is_an_error(shell: Shell) -> None:
    assert "No such command" in shell("serch", status=2)


@pytest.mark.parametrize(
    ("words", "old", "new"),
    [
        (["run", "shapes-quick", "--rehearse"], "--rehearse", "--dry-run"),
        (["predict", "a.safetensors", "a.png", "--out", "b", "--batch", "4"], "--batch", "--batch-size"),
        (["evaluate", "a.safetensors", "--data", "b", "--batch=4"], "--batch", "--batch-size"),
    ],
)
def test_an_old_option_is_answered_with_the_new_one(words: list[str], old: str, new: str, shell: Shell) -> None:
    assert shell.refused(*words) == f"detnas: unknown option {old}; it is called {new} now\n"
