"""Files about the project say the same thing: versions of Python, the version of detnas, addresses."""

import re
import tomllib
from typing import Any

import yaml
from paths import ROOT

import detnas

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_ci_runs_the_lowest_and_the_newest_python_that_the_classifiers_name() -> None:
    prefix = "Programming Language :: Python :: 3."
    minors = [int(one.removeprefix(prefix)) for one in PROJECT["classifiers"] if one.startswith(prefix)]
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert PROJECT["requires-python"] == f">=3.{minors[0]}"
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    (job,) = workflow["jobs"].values()
    assert job["strategy"]["matrix"]["python"] == [f"3.{minors[0]}", f"3.{minors[-1]}"]
    assert job["steps"][-1] == {"run": "bash .ci/run"}
    assert f"Python 3.{minors[0]} to 3.{minors[-1]}" in (ROOT / "docs/limits.md").read_text()


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == detnas.__version__
    assert citation["repository-code"] == PROJECT["urls"]["Homepage"]
    assert citation["license"] == PROJECT["license"]


def test_pre_commit_runs_the_linters_of_make_lint() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = {re.sub(" --fix", "", hook["entry"]) for hook in repository["hooks"]}
    lint = re.findall(r"^\t\$\(BIN\)/(ruff check|ruff format|mypy)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert hooks == set(lint)
