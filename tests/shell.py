"""The fixture `shell`, which runs commands of the command line."""

import sys

import pytest

from detnas.cli.main import main


class Shell:
    """Runs commands in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch = monkeypatch
        self.capsys = capsys

    def __call__(self, *words: object, status: int = 0) -> str:
        """The standard output of the command, or its standard error if `status` is not 0."""
        self.monkeypatch.setattr(sys, "argv", ["detnas", *map(str, words)])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        said = self.capsys.readouterr()
        assert (caught.value.code or 0) == status, said
        if status == 0:
            assert said.err == ""
            return said.out
        return said.err or said.out

    def refused(self, *words: object) -> str:
        error = self(*words, status=2)
        assert error.startswith("detnas: ") and error.count("\n") == 1
        return error
