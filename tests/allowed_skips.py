"""Which tests may be skipped, and why: any other skip fails where `CI=true`, or with `--strict-skips`."""

import os
from collections.abc import Iterator
from fnmatch import fnmatch

import pytest

ALLOWED = {
    "tests/data/test_packed_paths.py::*": "the memory of a process is read from /proc, which only Linux has",
    "tests/exporting/test_trees.py::*": "the images of trees are not part of the repository",
    "tests/report/test_page.py::test_a_browser_draws_every_plot*": "needs Chromium",
    "tests/training/test_metrics_log.py::*": "needs a CUDA GPU",
    "tests/utils/test_allocator.py::test_freed_memory*": "only glibc has such an allocator",
    "tests/utils/test_memory.py::test_a_peak_is_seen_and_forgotten": "only Linux resets a process's peak of memory",
    "tests/utils/test_resource_errors.py::*": "mounting a small file system to fill needs root",
}
"""Reasons by the node ids they are for, as patterns of `fnmatch`."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--strict-skips", action="store_true", help="fail on skips that tests/allowed_skips.py lacks")


def pytest_configure(config: pytest.Config) -> None:
    is_strict = config.getoption("strict_skips") or os.environ.get("CI") == "true"
    if is_strict and not hasattr(config, "workerinput"):  # xdist's workers report to the process that counts
        config.pluginmanager.register(UnexpectedSkips())


class UnexpectedSkips:
    """Collects skips that no entry of `ALLOWED` explains, and makes the session fail by them."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.add(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.add(report)

    def add(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        is_xfail = hasattr(report, "wasxfail")
        if report.skipped and not is_xfail and not any(fnmatch(report.nodeid, pattern) for pattern in ALLOWED):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            self.found.append(f"{report.nodeid}: {reason}")

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        if self.found and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        yield

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.found:
            terminalreporter.section("skips that tests/allowed_skips.py does not list", red=True)
            for line in self.found:
                terminalreporter.line(line)
