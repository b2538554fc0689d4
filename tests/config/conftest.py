from pathlib import Path

import pytest
from recipes import COMPLETE, MINIMAL, write_tree


@pytest.fixture
def complete(tmp_path: Path) -> Path:
    """A recipe with every key of every section."""
    file = tmp_path / "complete.yaml"
    file.write_text(COMPLETE)
    return file


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    """A recipe with the required keys alone."""
    return write_tree(tmp_path / "minimal.yaml", MINIMAL)
