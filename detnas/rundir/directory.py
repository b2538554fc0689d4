"""A run directory: held by whoever works in it, and refused where another version of detnas wrote it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from detnas.rundir import layout
from detnas.rundir.layout import SearchFacts, StoredRun
from detnas.rundir.record_files import damaged
from detnas.utils.errors import UserError
from detnas.utils.files import open_lock_file, read_json, try_lock, write_text
from detnas.version import __version__

UNFINISHED = (f".{layout.DATA}-", f".{layout.RECIPE}.")
"""How temporary names begin that a run may leave if it is killed before recipe.yaml is written."""


@contextmanager
def claim(directory: Path, shared: bool = False) -> Iterator[None]:
    """Hold `directory` for a run until the block ends, alone or together with others that hold it `shared`.

    Raises `UserError` if it holds anything but a run of this version, or if another process works in it.
    """
    if find_stored_run(directory) is None and directory.exists() and not _is_unused(directory):
        raise UserError(f"--out {directory}: exists and holds no run; choose a new or an empty folder")
    with open_lock_file(directory / layout.LOCK) as lock:  # held for as long as the file is open
        if not try_lock(lock, shared=shared):
            raise UserError(
                f"--out {directory}: another process is working in it; wait for it, or stop it, or, while it searches, "
                f"help it by `detnas search {directory} --join`"
            )
        try:
            yield
        finally:
            if {entry.name for entry in directory.iterdir()} == {layout.LOCK}:
                # The run was refused: leave nothing behind.
                (directory / layout.LOCK).unlink()
                directory.rmdir()


def _is_unused(directory: Path) -> bool:
    """Whether a directory holds nothing but what a run leaves that was killed before it wrote recipe.yaml."""
    return directory.is_dir() and all(
        entry.name in (layout.LOCK, layout.DATA) or entry.name.startswith(UNFINISHED) for entry in directory.iterdir()
    )


def read_stored_run(directory: Path) -> StoredRun:
    """The run in `directory`. Raises `UserError` if there is none, or if another version of detnas wrote it."""
    stored = find_stored_run(directory)
    if stored is None:
        raise UserError(f"{directory}: holds no run (there is no {layout.RECIPE}); name the --out of a `detnas run`")
    return stored


def find_stored_run(directory: Path) -> StoredRun | None:
    """The run in `directory`, or None. Raises `UserError` if another version of detnas wrote it."""
    path = directory / layout.RECIPE
    if not path.is_file():
        return None
    try:
        tree = yaml.safe_load(path.read_text())
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not YAML ({error}); name the --out of a `detnas run`") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: not the recipe of a run; name the --out of a `detnas run`")
    _check_format(directory, tree)
    facts = {key: tree[key] for key in layout.STORED_KEYS if key in tree}
    try:
        return StoredRun(recipe={key: value for key, value in tree.items() if key not in facts}, **facts)
    except ValueError as error:
        raise damaged(path, error) from None


def write_stored_run(directory: Path, stored: StoredRun) -> None:
    tree = stored.recipe | {key: getattr(stored, key) for key in layout.STORED_KEYS}
    write_text(directory / layout.RECIPE, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))


def find_search_facts(directory: Path) -> SearchFacts | None:
    """What a search by `detnas.search` in `directory` is of, or None. Raises `UserError` as `find_stored_run` does."""
    if not layout.SEARCH_FACTS.exists(directory):
        return None
    tree = read_json(layout.SEARCH_FACTS.path(directory))
    _check_format(directory, tree if isinstance(tree, dict) else {})
    return layout.SEARCH_FACTS.read(directory)


def _check_format(directory: Path, tree: Mapping[str, Any]) -> None:
    """Raise `UserError` unless `tree`, of a file that every run has, says that it is of the format that we read."""
    found = tree.get("format", 1)
    if found == layout.FORMAT:
        return
    versions = tree.get("versions")
    writer = versions.get("detnas", "unknown") if isinstance(versions, dict) else "unknown"
    raise UserError(
        f"{directory}: written by another version of detnas ({writer}, format {found}), which this one ({__version__}, "
        f"format {layout.FORMAT}) does not continue; use that version, or start a new run in another folder"
    )
