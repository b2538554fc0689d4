"""What a run writes into its directory when it begins, and compares with what stands there when it continues."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from detnas.config import Recipe, load_recipe
from detnas.config.auto import fill_from
from detnas.data.detection import DetectionSet
from detnas.data.run_data import portable, remember_data
from detnas.data.shapes.write import prepare_shapes
from detnas.data.splits import RunData
from detnas.rundir.directory import find_stored_run, write_stored_run
from detnas.rundir.layout import DATA, FORMAT, LATENCIES, RECIPE, SPLITS, SplitImage, StoredRun
from detnas.spaces import LatencyTable, read_latencies
from detnas.spaces.latency import write_latencies
from detnas.utils.errors import UserError
from detnas.utils.text import describe_value
from detnas.utils.versions import versions


def check_recipe(directory: Path, recipe: Recipe) -> None:
    """Raise `UserError` if `directory` holds the run of another recipe.

    What is `auto` is not compared: before the data set is read, it is not known what it is.
    """
    if find_stored_run(directory) is None:
        return
    known = load_recipe(directory / RECIPE)  # with defaults for fields that have been added since
    difference = _difference(known.model_dump(mode="json"), fill_from(recipe, known).model_dump(mode="json"))
    if difference:
        raise UserError(
            f"--out {directory}: holds the run of another recipe ({difference}); choose another folder, or give "
            "the recipe that it was begun with"
        )


def draw_data(directory: Path, recipe: Recipe, log: Callable[[str], None]) -> str:
    """Draw the embedded data set into a run directory if it is not there yet, and return its folder.

    Raises `UserError` if the recipe has none.
    """
    if recipe.data.shapes is None:
        raise UserError(f"recipe {recipe.name} needs a data set; name its folder by --data DIR")
    folder = directory / DATA
    prepare_shapes(folder, recipe.data.shapes, log=log)
    return str(folder)


def store_recipe(directory: Path, recipe: Recipe, data: RunData, fingerprint: str) -> None:
    """Write recipe.yaml when the run begins; later, where its data set is now."""
    stored = find_stored_run(directory)
    if stored is not None:
        remember_data(directory, stored, data.directory)
        return
    stored = StoredRun(
        recipe=recipe.model_dump(mode="json"),
        format=FORMAT,
        versions=versions(),
        data_directory=portable(directory, data.directory),
        data_fingerprint=fingerprint,
    )
    write_stored_run(directory, stored)


def store_splits(directory: Path, data: RunData) -> None:
    """Write splits.json, the images that were taken from the training images, unless it is there and whole."""
    parts = {"search": data.search} | ({"val": data.val} if data.val_is_cut else {})
    splits = {name: _images(part, data.directory) for name, part in parts.items()}
    if SPLITS.find_intact(directory) != splits:
        SPLITS.write(directory, splits)


def store_latencies(directory: Path, latencies: tuple[LatencyTable, ...]) -> None:
    """Write the budget's tables of latencies when the run begins; later, raise `UserError` if they are others."""
    path = directory / LATENCIES
    if not latencies:
        return
    try:
        stored = read_latencies(path)
    except UserError:  # missing or damaged
        write_latencies(path, latencies)
        return
    if stored != latencies:
        raise UserError(
            f"{directory}: budget.latencies has been measured again since this run was begun; put {path} there, or "
            "choose another --out"
        )


def _images(part: DetectionSet, folder: Path) -> list[SplitImage]:
    return [
        SplitImage(id=id, file=str(file.relative_to(folder) if file.is_relative_to(folder) else file))
        for id, file in zip(part.image_ids, part.files, strict=True)
    ]


def _difference(stored: dict[str, Any], wanted: dict[str, Any], path: str = "") -> str | None:
    """The first field in which a stored recipe differs from the wanted one."""
    for key, value in wanted.items():
        other = stored.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            difference = _difference(other, value, f"{path}{key}.")
            if difference:
                return difference
        elif other != value:
            return f"{path}{key}: {describe_value(other)} there, {describe_value(value)} here"
    return None
