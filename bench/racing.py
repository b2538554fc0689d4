"""What racing saves, and what it changes: python bench/racing.py [SEEDS] writes bench/results/racing.json.

Trains the supernet of `shapes-quick` with a larger search split, and searches it with and without racing, from the same
seeds. An architecture is judged once, in all rounds, and answers every search from memory; what a candidate takes is
measured apart, relative to what it takes without racing, and the time of a search reckoned from it. About a quarter of
an hour on two cores; what has been trained and judged is kept in runs/racing, and not done again.
"""

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from machine import machine

from detnas.config import load_recipe
from detnas.run.context import Run, open_run
from detnas.run.pipeline import candidate_judge, run
from detnas.search.evaluators.racing import GoesOn, Standing, always
from detnas.search.study.lockstep import Judge
from detnas.search.study.study import search
from detnas.spaces import Architecture
from detnas.utils.files import read_json, read_json_lines, write_json
from detnas.utils.progress import Progress

ROOT = Path("runs") / "racing"
RECIPE = "shapes-quick"
CHANGES = (
    "data.shapes.train=1400",
    "data.search_images=400",
    "search.evaluations=80",
    "search.parents=10",
)
SEEDS = 4
SHARES = (0.125, 0.25, 0.5)
RACES = (
    ((0.5,), 0.05),
    ((0.25, 0.5), 0.01),
    ((0.25, 0.5), 0.05),
    ((0.25, 0.5), 0.2),
    ((0.125, 0.25, 0.5), 0.05),
)
TIMED = 5
"""Candidates of which each way through the rounds is timed."""
TOP = 10
CACHE_MB = 700


class Memory:
    """Judges each architecture once, in all rounds, and knows it then."""

    def __init__(self, judge: Judge, file: Path) -> None:
        self.judge = judge
        self.file = file
        self.known: dict[str, Any] = read_json(file) if file.exists() else {}

    def of(self, architecture: Architecture) -> Mapping[str, Any]:
        key = str(architecture)
        if key not in self.known:
            standings: list[Standing] = []
            scores = self.judge(architecture, lambda standing: standings.append(standing) or True)
            self.known[key] = {"scores": scores, "standings": [asdict(one) for one in standings]}
            write_json(self.file, self.known)
        return self.known[key]

    def judging(self, shares: Sequence[float]) -> Judge:
        """A judge whose rounds end at these of the shares."""
        rounds = [SHARES.index(share) for share in shares]

        def judge(architecture: Architecture, goes_on: GoesOn) -> Mapping[str, float | None] | None:
            known = self.of(architecture)
            going = all(goes_on(Standing(**known["standings"][done])) for done in rounds)
            return known["scores"] if going else None

        return judge


def with_racing(current: Run, shares: Sequence[float]) -> Run:
    """The run with racing, and with less memory for what candidates share: two judges are at work."""
    search = current.recipe.search.model_copy(update={"racing": tuple(shares)})
    data = current.recipe.data.model_copy(update={"cache_mb": CACHE_MB})
    return replace(current, recipe=current.recipe.model_copy(update={"search": search, "data": data}))


def relative_times(current: Run) -> dict[int, float]:
    """What a candidate takes in all the rounds, over what it takes without racing, by the pictures that it was judged
    on when it was dropped or through: medians of pairs, one after the other."""
    plain, racing = (candidate_judge(with_racing(current, shares)) for shares in ((), SHARES))
    taken: list[dict[int, float]] = []
    for seed in range(TIMED + 1):
        architecture = current.sampler.sample(np.random.default_rng(seed))
        assert architecture is not None
        began = time.perf_counter()
        plain(architecture, always)
        whole = time.perf_counter() - began
        began = time.perf_counter()
        stamps = {}

        def stamp(standing: Standing, stamps: dict[int, float] = stamps, began: float = began) -> bool:
            stamps[standing.pictures] = time.perf_counter() - began
            return True

        racing(architecture, stamp)
        stamps[len(current.data.search)] = time.perf_counter() - began
        taken.append({pictures: seconds / whole for pictures, seconds in stamps.items()})
    # The first pair warms up.
    return {pictures: statistics.median(times[pictures] for times in taken[1:]) for pictures in taken[0]}


def searched(current: Run, judge: Judge, shares: Sequence[float], chance: float, seed: int) -> list[dict[str, Any]]:
    """The candidates of a search."""
    settings = current.recipe.search.model_copy(update={"racing": tuple(shares), "racing_chance": chance})
    with TemporaryDirectory() as directory:
        search(judge, current.sampler, settings, Path(directory), seed=seed, progress=Progress(quiet=True))
        return read_json_lines(Path(directory) / "candidates.jsonl")


def top(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    ranked = sorted((row for row in rows if row["fitness"] is not None), key=lambda row: -row["fitness"])
    return [row["architecture"] for row in ranked[:TOP]]


def compared(
    races: Sequence[Sequence[Mapping[str, Any]]],
    without: Sequence[Sequence[Mapping[str, Any]]],
    times: Mapping[int, float],
) -> dict[str, Any]:
    """Searches with racing beside those without it from the same seeds."""
    rows = [row for race in races for row in race]
    best = [(max(row["fitness"] or 0 for row in race) for race in searches) for searches in (races, without)]
    return {
        "candidates dropped": round(sum(row["fitness"] is None for row in rows) / len(rows), 3),
        "pictures saved": round(1 - sum(row["pictures"] for row in rows) / len(rows) / max(times), 3),
        "time saved": round(1 - sum(times[row["pictures"]] for row in rows) / len(rows), 3),
        f"of the top {TOP}, others by seed": [
            len(set(top(one)) - set(top(other))) for one, other in zip(races, without, strict=True)
        ],
        "winner's mAP below that without, by seed": [round(other - one, 4) for one, other in zip(*best, strict=True)],
    }


def main(seeds: range) -> None:
    run(RECIPE, ROOT, changes=CHANGES, progress=Progress(), stages=("supernet-pretrain", "supernet-finetune"))
    with open_run(load_recipe(RECIPE, CHANGES), ROOT, None, Progress(quiet=True)) as current:
        memory = Memory(candidate_judge(with_racing(current, SHARES)), ROOT / "judged.json")
        without = [searched(current, memory.judging(()), (), 0.05, seed) for seed in seeds]
        found = []
        times = relative_times(current)
        for shares, chance in RACES:
            races = [searched(current, memory.judging(shares), shares, chance, seed) for seed in seeds]
            result = compared(races, without, times)
            found.append({"racing": shares, "racing_chance": chance, **result})
            print(found[-1])
    write_json(
        Path(__file__).parent / "results" / "racing.json",
        {
            "recipe": RECIPE,
            "changes": CHANGES,
            "seeds": len(seeds),
            "machine": machine(),
            "time of a candidate over that without racing, by the pictures it was judged on": {
                str(pictures): round(ratio, 3) for pictures, ratio in times.items()
            },
            "races": found,
        },
    )


if __name__ == "__main__":
    main(range(int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS))
