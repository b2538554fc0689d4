"""Where the repository's files are, for tests at any depth."""

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
DOCS = ROOT / "docs"
SHARED = ROOT.parent / "shared"
"""Lies beside some checkouts; tests that read it skip where it is absent."""
