"""A run directory: held by whoever works in it, and refused where another version of detnas wrote it."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from detnas.config.loading import RecipeLoader
from detnas.rundir import layout
from detnas.rundir.layout import SearchFacts, StoredRun
from detnas.rundir.record_files import DAMAGE, damaged, read_text
from detnas.utils.errors import UserError
from detnas.utils.files import is_file, open_lock_file, remove_unfinished, remove_unused_folders, try_lock, write_text
from detnas.utils.text import describe_value
from detnas.utils.yaml_text import parse_yaml
from detnas.version import __version__

REMEDY = "restore it, or start a new run in another folder"

UNFINISHED = (f".{layout.DATA}-", f".{layout.RECIPE}.")
"""How temporary names begin that a run may leave if it is killed before recipe.yaml is written."""


@contextmanager
def claim(directory: Path, shared: bool = False) -> Iterator[None]:
    """Hold `directory` for a run until the block ends, alone or together with others that hold it `shared`.

    Whoever holds it alone removes what killed processes have left there.

    Raises `UserError` if it holds anything but a run of this version, or if another process works in it.
    """
    if find_stored_run(directory) is None and os.path.lexists(directory) and not _is_unused(directory):
        raise UserError(
            f"--out {directory}: exists and holds no run (there is no {layout.RECIPE}); choose a new or an empty folder"
        )
    with open_lock_file(directory / layout.LOCK) as lock:  # held for as long as the file is open
        if not try_lock(lock, shared=shared):
            raise UserError(
                f"--out {directory}: another process is working in it; wait for it, or stop it, or, while it searches, "
                f"help it by `detnas search {directory} --join`"
            )
        if not shared:
            _remove_leftovers(directory)
        try:
            yield
        finally:
            with suppress(OSError):
                if {entry.name for entry in directory.iterdir()} == {layout.LOCK}:
                    # The run was refused: leave nothing behind.
                    (directory / layout.LOCK).unlink()
                    directory.rmdir()


def _remove_leftovers(directory: Path) -> None:
    """Remove what killed processes have left in a directory that is claimed alone; what is being written is locked."""
    remove_unused_folders(directory, UNFINISHED[0])
    for place, folders, _ in os.walk(directory):
        remove_unfinished(Path(place))
        if Path(place) == directory:  # nobody writes single files into these
            folders[:] = [name for name in folders if name not in (layout.DATA, layout.IMAGES)]


def file_digests(*paths: Path) -> dict[str, str]:
    """The SHA-256 of each of the files, by name, in hexadecimal; those that cannot be read are left out."""
    digests = {}
    for path in filter(is_file, paths):
        with suppress(OSError), path.open("rb") as file:
            digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


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
    try:
        tree = parse_yaml(read_text(path), RecipeLoader)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except DAMAGE as error:
        raise damaged(path, error, REMEDY) from None
    if not isinstance(tree, dict):
        raise damaged(path, ValueError("it does not hold a recipe"), REMEDY)
    _check_format(directory, tree)
    facts = {key: tree[key] for key in layout.STORED_KEYS if key in tree}
    try:
        recipe = {key: value for key, value in tree.items() if key not in facts}
        return StoredRun.model_validate({**facts, "recipe": recipe})
    except ValueError as error:
        raise damaged(path, error, REMEDY) from None


def write_stored_run(directory: Path, stored: StoredRun) -> None:
    write_text(directory / layout.RECIPE, format_stored_run(stored))


def format_stored_run(stored: StoredRun) -> str:
    """The text of recipe.yaml."""
    tree = stored.recipe | {key: getattr(stored, key) for key in layout.STORED_KEYS}
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def find_search_facts(directory: Path) -> SearchFacts | None:
    """What a search by `detnas.search` in `directory` is of, or None. Raises `UserError` as `find_stored_run` does."""
    with suppress(*DAMAGE):  # what is damaged is said by the reader
        tree = json.loads(read_text(layout.SEARCH_FACTS.path(directory)))
        if isinstance(tree, dict):
            _check_format(directory, tree)
    return layout.SEARCH_FACTS.find(directory)


def _check_format(directory: Path, tree: Mapping[str, Any]) -> None:
    """Raise `UserError` unless `tree`, of a file that every run has, says that it is of the format that we read."""
    found = tree.get("format", 1)
    if found == layout.FORMAT:
        return
    versions = tree.get("versions")
    writer = versions.get("detnas", "unknown") if isinstance(versions, dict) else "unknown"
    found, writer = (value if isinstance(value, str) else describe_value(value) for value in (found, writer))
    raise UserError(
        f"{directory}: written by another version of detnas ({writer}, format {found}), which this one ({__version__}, "
        f"format {layout.FORMAT}) does not continue; use that version, or start a new run in another folder"
    )
