"""The commands of `python -m research`."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from research.__main__ import COMMANDS, app, main
from research.pages import results_page
from research.workspace import RESULTS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_does_and_has_results_or_is_said_to_have_none(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0 and "Usage:" in result.output
    if command not in ("record", "pages"):
        name = command.replace("-", "_")
        missing = f"Not measured yet: there is no `{name}.json`."
        assert f"results/{name}.json" in result.output
        assert (RESULTS / f"{name}.json").exists() or missing in results_page()


def test_every_archived_file_is_explained() -> None:
    archive = RESULTS.parent / "archive"
    explained = (archive / "README.md").read_text()
    assert {file.name for file in archive.glob("*.json") if f"`{file.name}`" not in explained} == set()


def test_a_result_that_is_missing_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["research", "equal-macs-ranking", "--tiny"])
    with pytest.raises(SystemExit, match="2"):
        main()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("comparison.json is missing; write it by `python -m research comparison` first")
