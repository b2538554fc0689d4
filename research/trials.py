"""Trials on real images: ways of doing the same, each on several data sets with several seeds.

A unit is one way on one data set with one seed, in a folder of its own under runs/research; what is done is not done
again, here or where the file of results was written. Several processes share the units: start an experiment as often as
there are cores (`OMP_NUM_THREADS=1`), and stop it at any time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Annotated

import numpy as np
import typer

from benchmarks.command import machine
from detnas.utils.errors import UserError
from detnas.utils.files import is_folder, read_json, try_lock_file, write_json
from research.statistics import Blocks, rounded
from research.workspace import Row, Workspace, hyphenated

SETS = ("trees", "bccd", "rice-pests", "chess")
"""The data sets, by their folders."""
DataSets = Annotated[Path, typer.Argument(metavar="DIR", help="The folder with a folder for each data set.")]
Unit = tuple[str, str, int]
"""A way, a data set and a seed."""


@dataclass(frozen=True)
class Trials:
    """Ways to be compared. The first is that with which the others are compared."""

    workspace: Workspace
    name: str
    """Of the file of results."""
    recipe: str
    ways: Mapping[str, tuple[str, ...]]
    """Changes to the recipe by way."""
    sets: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def units(self) -> list[Unit]:
        """All ways with the first seed come before the second."""
        return [(way, data, seed) for seed, data, way in product(self.seeds, self.sets, self.ways)]

    @property
    def measured(self) -> Row:
        """How all units are measured."""
        return {"recipe": self.recipe, "ways": {way: list(changes) for way, changes in self.ways.items()}}

    def folder(self, unit: Unit) -> Path:
        way, data, seed = unit
        return self.workspace.runs / self.name / f"{hyphenated(way)}-{data}-seed{seed}"

    def known(self, unit: Unit) -> Row | None:
        """The result of a unit, here or where the file of results was written."""
        file = self.folder(unit).with_suffix(".json")
        if file.exists():
            row: Row = read_json(file)
            return row
        results, way = self.workspace.results(self.name), unit[0]
        earlier = read_json(results) if results.exists() else {}
        if earlier.get("recipe") != self.recipe or earlier["ways"].get(way) != list(self.ways[way]):
            return None
        return next((row for row in earlier["trials"] if (row["way"], row["data"], row["seed"]) == unit), None)

    def measure(self, data_sets: Path, work: Callable[[Unit, Path, Path], Row]) -> None:
        """Do `work(unit, folder, data)`, which returns scores, for all units that are neither done nor in work."""
        for unit in self.units:
            if not is_folder(data_sets / unit[1]):
                raise UserError(f"{data_sets / unit[1]}: no such folder; name the folder with {', '.join(self.sets)}")
            folder = self.folder(unit)
            with try_lock_file(folder.with_suffix(".lock")) as mine:
                if mine and self.known(unit) is None:
                    print(*unit, flush=True)
                    way, data, seed = unit
                    row = {"way": way, "data": data, "seed": seed, **work(unit, folder, data_sets / data)}
                    write_json(folder.with_suffix(".json"), row)

    def summarize(self) -> None:
        """Write the file of results: all units, and each way's mean and its difference from the first."""
        rows = [row for unit in self.units if (row := self.known(unit)) is not None]
        write_json(
            self.workspace.results(self.name),
            {**self.measured, "machine": machine(), "estimates": self.estimates(rows), "trials": rows},
        )

    def estimates(self, rows: list[Row]) -> Row:
        """By data set and of all: the mean mAP and AP50 of each way, and the mean of its mAP less the first way's, with
        an interval of 95 %, over the seeds that all these ways have."""
        found: Row = {}
        for data in (*self.sets, "all"):
            own = [row for row in rows if data in (row["data"], "all")]
            blocks = {way: {(row["data"], row["seed"]): row for row in own if row["way"] == way} for way in self.ways}
            first = next(iter(self.ways))
            found[data] = {}
            for way, of in blocks.items():
                if of:
                    means = {score: round(fmean(row[score] for row in of.values()), 4) for score in ("mAP", "AP50")}
                    found[data][way] = {"trials": len(of), **means}
                both = [block for block in blocks[first] if block in of]
                if way != first and len(both) > 1:
                    scores = np.array([[blocks[one][block]["mAP"] for block in both] for one in (way, first)])
                    found[data][way][f"mAP less that of {first}"] = rounded(Blocks(scores).difference(0, 1))
        return found
