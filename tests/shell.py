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
        ended, out, err = self._run(*words)
        assert ended == status, (out, err)
        if status == 0:
            assert err == ""
            return out
        return err or out

    def ended(self, *words: object) -> tuple[int, str]:
        """The exit status of the command, whichever that is, and its standard error."""
        status, _, err = self._run(*words)
        return status, err

    def _run(self, *words: object) -> tuple[int, str, str]:
        self.monkeypatch.setattr(sys, "argv", ["detnas", *map(str, words)])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        said = self.capsys.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    def refused(self, *words: object) -> str:
        error = self(*words, status=2)
        assert error.startswith("detnas: ") and error.count("\n") == 1
        return error
