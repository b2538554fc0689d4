"""The finals: the best candidates and the best incumbents are trained standalone, and compared on the search split.

Nobody trains on the search split here: networks are trained on the rest of the training images, as the supernet was.
Each rung trains what is left of them again, by the schedule of `finetune` with a fraction of its steps; the better half
goes on, and always the best incumbent (successive halving, Jamieson and Talwalkar, arXiv:1502.07943). A network of the
search replaces the best incumbent only if it is better with the certainty that the recipe wants.

Several workers share the trainings of a rung; each waits for the others before the next. All find the same, since what
a training leaves does not depend on who ran it.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from detnas.config.finals import survivors
from detnas.distributed import comm
from detnas.evaluation.metrics.bootstrap import paired_bootstrap
from detnas.report.finals import describe
from detnas.run.context import Run
from detnas.run.networks import finetune_networks, pretrain_networks
from detnas.rundir import layout
from detnas.rundir.layout import Candidate, Finalist, FinalsResult
from detnas.spaces import Architecture
from detnas.utils.estimate import Estimate
from detnas.utils.seeds import derive_seed

LEAST_DIFFERENCES = 2
"""Choices in which a challenger differs from every better one."""


@dataclass
class Entrant:
    """A network of the finals, its fitness by the supernet, and its scores by rung and training."""

    architecture: Architecture
    is_incumbent: bool
    fitness: float
    scores: list[list[float]] = field(default_factory=list)

    @property
    def score(self) -> float:
        """The mean on the highest rung that it has reached."""
        return sum(self.scores[-1]) / len(self.scores[-1])


def finals_stage(run: Run) -> None:
    """Hold the finals, unless the recipe has none, or they are over."""
    if not run.recipe.finals:
        return
    folder = run.directory / layout.FINALS
    if comm.broadcast_from_main(lambda: layout.FINALS_RESULT.find_intact(folder) is None):
        result = hold_finals(run, choose_finalists(run))
        if comm.is_main_process():
            layout.FINALS_RESULT.write(folder, result)
    for line in describe(run.read(layout.FINALS_RESULT, layout.FINALS), run.space):
        run.progress.log(f"  {line}")


def choose_finalists(run: Run) -> list[Entrant]:
    """The candidates of the search that take part, the best by fitness first."""
    settings = run.recipe.finals
    assert settings
    rows = comm.broadcast_from_main(
        lambda: [row.model_dump() for row in layout.CANDIDATES.read(run.directory / layout.SEARCH)]
    )
    ranked = sorted(map(Candidate.model_validate, rows), key=lambda row: (-row.fitness, row.number))
    everyone = [Entrant(Architecture.parse(row.architecture), row.origin == "incumbent", row.fitness) for row in ranked]
    chosen = [one for one in everyone if one.is_incumbent][: settings.incumbents]
    codes = [run.space.encode(one.architecture) for one in chosen]
    most = len(chosen) + settings.challengers
    for one in everyone:
        code = run.space.encode(one.architecture)
        if not one.is_incumbent and len(chosen) < most and _is_new(code, codes):
            chosen.append(one)
            codes.append(code)
    return sorted(chosen, key=everyone.index)


def _is_new(code: tuple[int, ...], others: Sequence[tuple[int, ...]]) -> bool:
    """Whether an architecture differs from all others in enough choices."""
    return all(sum(map(int.__ne__, code, other)) >= LEAST_DIFFERENCES for other in others)


def hold_finals(run: Run, everyone: Sequence[Entrant]) -> FinalsResult:
    """Train and compare some networks of the run's space."""
    settings = run.recipe.finals
    assert settings
    left, runs = list(everyone), [_run_of(run, rung) for rung in range(len(settings.rungs))]
    for number, rung in enumerate(runs, start=1):
        steps = rung.recipe.finetune.steps
        run.progress.log(f"  rung {number} of {len(runs)}: {len(left)} networks, {steps:,} steps each")
        _train(rung, left)
        for one in left:
            one.scores.append([_score(rung, one)])
        if rung is not runs[-1]:
            left = _better_half(left)
    incumbent, challenger = (_best(left, is_incumbent=one) for one in (True, False))
    lead, certainty = _compare(run, challenger, incumbent) if challenger and incumbent else (None, None)
    is_better = certainty is None or certainty >= settings.certainty
    winner = challenger if challenger and is_better else incumbent
    assert winner is not None
    return FinalsResult(
        winner=str(winner.architecture),
        challenger=str(challenger.architecture) if challenger else None,
        incumbent=str(incumbent.architecture) if incumbent else None,
        metric=run.recipe.search.metric,
        images=len(run.data.search),
        lead=lead,
        certainty=certainty,
        wanted=settings.certainty,
        steps=[rung.recipe.finetune.steps for rung in runs],
        finalists=[
            Finalist(
                architecture=str(one.architecture),
                is_incumbent=one.is_incumbent,
                fitness=one.fitness,
                scores=one.scores,
            )
            for one in everyone
        ],
    )


def _run_of(run: Run, rung: int, again: bool = False) -> Run:
    """A run whose networks are trained as on a rung: without the search split, on which they are then evaluated."""
    recipe, folder = run.recipe, run.directory / layout.FINALS
    assert recipe.finals
    changes: dict[str, Any] = {"finetune": recipe.finetune.scaled(recipe.finals.rungs[rung])}
    if again:
        changes["seed"] = derive_seed(recipe.seed, "again")
    return replace(
        run,
        recipe=recipe.model_copy(update=changes),
        directory=folder / f"rung{rung + 1}{'-again' if again else ''}",
        data=replace(run.data, train=run.data.fit, val=run.data.search),
        origin=run.supernet_directory,
        pretrained=folder,
    )


def _train(rung: Run, entrants: Sequence[Entrant]) -> None:
    """Train and evaluate all entrants of a rung, each by one worker."""
    assert rung.pretrained is not None
    networks = {one.architecture.hyphenated: partial(rung.subnet, one.architecture) for one in entrants}
    pretrain_networks(replace(rung, directory=rung.pretrained), networks)
    finetune_networks(rung, networks, split="the search split")
    for one in entrants if comm.is_main_process() else ():
        for checkpoint in layout.checkpoint_paths(_folder(rung, one.architecture)):
            with suppress(OSError):  # another worker deletes them, too
                checkpoint.unlink()


def _folder(rung: Run, architecture: Architecture) -> Path:
    return rung.directory / layout.FINETUNE / architecture.hyphenated


def _score(rung: Run, entrant: Entrant) -> float:
    """0 if there is nothing to find."""
    folder = f"{layout.FINETUNE}/{entrant.architecture.hyphenated}"
    return rung.read(layout.EVALUATION, folder).scores[rung.recipe.search.metric] or 0.0


def _better_half(entrants: Sequence[Entrant]) -> list[Entrant]:
    """The better half, rounded up, at least two, and among them the best incumbent; of equals, the fitter."""
    ranked = sorted(entrants, key=lambda one: -one.score)
    half = ranked[: survivors(len(ranked))]
    best = _best(ranked, is_incumbent=True)
    return half if best is None or best in half else [*half[:-1], best]


def _best(entrants: Sequence[Entrant], *, is_incumbent: bool) -> Entrant | None:
    own = [one for one in entrants if one.is_incumbent == is_incumbent]
    return max(own, key=lambda one: one.score, default=None)


def _compare(run: Run, challenger: Entrant, incumbent: Entrant) -> tuple[Estimate, float]:
    """By how much the challenger is better on the last rung, and with what certainty; if they are close, after a second
    training of both."""
    assert run.recipe.finals
    last, wanted = len(run.recipe.finals.rungs) - 1, run.recipe.finals.certainty
    trainings = [_run_of(run, last)]
    lead, certainty = _bootstrap(trainings, challenger, incumbent)
    if 1 - wanted < certainty < wanted:
        run.progress.log("  the best two are close: both are trained a second time")
        trainings.append(_run_of(run, last, again=True))
        _train(trainings[-1], [challenger, incumbent])
        for one in (challenger, incumbent):
            one.scores[-1].append(_score(trainings[-1], one))
        lead, certainty = _bootstrap(trainings, challenger, incumbent)
    return lead, certainty


def _bootstrap(trainings: Sequence[Run], challenger: Entrant, incumbent: Entrant) -> tuple[Estimate, float]:
    run = trainings[0]

    def measure() -> tuple[float, float, float, float]:
        first, second = (
            [layout.DETECTIONS.read(_folder(one, entrant.architecture)) for one in trainings]
            for entrant in (challenger, incumbent)
        )
        truth = run.data.search.ground_truth()
        lead, certainty = paired_bootstrap(truth, first, second, run.recipe.search.metric)
        return lead.value, lead.low, lead.high, certainty

    value, low, high, certainty = comm.broadcast_from_main(measure)
    return Estimate(value, low, high), certainty
