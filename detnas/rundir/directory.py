"""A run's directory: whose run it holds, and that one process works in it at a time."""

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torchvision
import yaml
from pydantic import ValidationError

from detnas.config import Recipe
from detnas.data.detection import DetectionSet
from detnas.data.shapes.prepare import prepare_shapes
from detnas.data.splits import RunData
from detnas.spaces import LatencyTable, read_latencies
from detnas.utils.errors import UserError
from detnas.utils.files import try_lock, write_json, write_text
from detnas.version import __version__

RECIPE = "recipe.yaml"
SPLITS = "splits.json"
LATENCIES = "latencies.json"
LOCK = ".lock"
SHAPES = "data"
"""Where the embedded data set is drawn."""
BEFORE_START = {LOCK, SHAPES}
UNFINISHED = (f".{SHAPES}-", f".{RECIPE}.")
"""What a run that was cut before recipe.yaml was written may have left: names, and how temporary names begin."""


@contextmanager
def claim(directory: Path, recipe: Recipe, shared: bool = False) -> Iterator[None]:
    """Hold `directory` for a run of `recipe` until the block ends, alone or with others that hold it `shared`.

    Raises `UserError` if it holds another recipe's run, or anything else, or if another process works in it.
    """
    stored = _read_stored(directory)
    if stored is not None:
        difference = _difference(_completed(stored), recipe.model_dump(mode="json"))
        if difference:
            raise UserError(
                f"--out {directory}: holds the run of another recipe ({difference}); choose another folder, or give "
                "the recipe that it was begun with"
            )
    elif directory.exists() and not (directory.is_dir() and all(map(_before_start, directory.iterdir()))):
        raise UserError(f"--out {directory}: exists and holds no run; choose a new or an empty folder")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        held = (directory / LOCK).open("w")  # the lock lives as long as the file is open
    except OSError as error:
        raise UserError(f"--out {directory}: cannot be written ({error.strerror}); choose another folder") from None
    with held:
        if not try_lock(held, shared=shared):
            raise UserError(
                f"--out {directory}: another process is working in it; wait for it, or stop it, or, while it searches, "
                f"help it by `detnas search {directory} --join`"
            )
        try:
            yield
        finally:
            if {entry.name for entry in directory.iterdir()} == {LOCK}:
                # The run was refused: leave nothing behind.
                (directory / LOCK).unlink()
                directory.rmdir()


def _before_start(entry: Path) -> bool:
    return entry.name in BEFORE_START or entry.name.startswith(UNFINISHED)


def draw_data(directory: Path, recipe: Recipe, log: Callable[[str], None]) -> str:
    """Draw the embedded data set into a run's directory if it is not there yet, and return where it is.

    Raises `UserError` if the recipe has none.
    """
    if recipe.data.shapes is None:
        raise UserError(f"recipe {recipe.name} needs a data set; name its folder by --data DIR")
    prepare_shapes(directory / SHAPES, recipe.data.shapes, begun=(directory / RECIPE).exists(), log=log)
    return str(directory / SHAPES)


def store_recipe(directory: Path, recipe: Recipe, data: Path, fingerprint: str) -> None:
    """Write recipe.yaml when the run begins; on later calls check that the data are the same.

    Raises `UserError` if the data set has changed since the run was begun.
    """
    stored = _read_stored(directory)
    if stored is None:
        tree = {
            **recipe.model_dump(mode="json"),
            "versions": versions(),
            "data_directory": str(data.resolve()),
            "data_fingerprint": fingerprint,
        }
        write_text(directory / RECIPE, yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))
    elif stored["data_fingerprint"] != fingerprint:
        raise UserError(f"{directory}: the data set has changed since this run was begun; choose another --out")


def store_splits(directory: Path, data: RunData) -> None:
    """Write splits.json when the run begins: the images of the sets that were cut from the training images.

    `search` and, unless it has files of its own, `val` list image ids and file names, these relative to the data.
    """
    if not (directory / SPLITS).exists():
        parts = {"search": data.search} | ({"val": data.val} if data.val_is_cut else {})
        write_json(directory / SPLITS, {name: _images(part, data.directory) for name, part in parts.items()})


def store_latencies(directory: Path, latencies: LatencyTable | None) -> None:
    """Keep the table of latencies that the run budgets by; on later calls check that it is the same.

    Raises `UserError` if it has been measured again since the run was begun.
    """
    path = directory / LATENCIES
    if latencies is not None and not path.exists():
        latencies.write(path)
    elif latencies is not None and read_latencies(path) != latencies:
        raise UserError(
            f"{directory}: budget.latencies has been measured again since this run was begun; put {path} there, or "
            "choose another --out"
        )


def _images(part: DetectionSet, folder: Path) -> list[dict[str, Any]]:
    return [
        {"id": id, "file": str(file.relative_to(folder) if file.is_relative_to(folder) else file)}
        for id, file in zip(part.image_ids, part.files, strict=True)
    ]


def read_stored_run(directory: Path) -> dict[str, Any]:
    """The recipe.yaml of a run directory as a tree. Raises `UserError` if there is none."""
    stored = _read_stored(directory)
    if stored is None:
        raise UserError(f"{directory}: holds no run (there is no {RECIPE}); name the --out of a `detnas run`")
    return stored


def _read_stored(directory: Path) -> dict[str, Any] | None:
    path = directory / RECIPE
    return yaml.safe_load(path.read_text()) if path.is_file() else None


def versions() -> dict[str, str]:
    return {
        "detnas": __version__,
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "python": platform.python_version(),
    }


def _completed(stored: dict[str, Any]) -> dict[str, Any]:
    """A stored recipe, with the defaults of fields that the version of detnas which stored it did not have."""
    try:
        recipe = Recipe.model_validate({key: value for key, value in stored.items() if key in Recipe.model_fields})
    except ValidationError:
        return stored  # a field has changed since; the difference will name it
    return recipe.model_dump(mode="json")


def _difference(stored: dict[str, Any], wanted: dict[str, Any], path: str = "") -> str | None:
    """The first field in which a stored recipe differs from the wanted one."""
    for key, value in wanted.items():
        other = stored.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            difference = _difference(other, value, f"{path}{key}.")
            if difference:
                return difference
        elif other != value:
            return f"{path}{key}: {other!r} there, {value!r} here"
    return None
