"""Fills the template of the page with what was collected of a run, the plots and the images."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from math import isnan
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from detnas.config.beginnings import describe_beginnings, is_pretrained
from detnas.config.space import BudgetSettings
from detnas.report import plots
from detnas.report.answer import DESCRIPTIONS, UNKNOWN, answer, caveat, count, milliseconds, points
from detnas.report.collect import CollectedRun, Network, Training, collect
from detnas.report.drawing import draw
from detnas.report.finals import describe as describe_finals
from detnas.report.images import MOST_PREDICTIONS, Example, embed_images, label
from detnas.report.recalibration import explain_recalibration
from detnas.rundir import layout
from detnas.rundir.layout import Candidate
from detnas.spaces import PAPER_OPS, SearchSpace
from detnas.spaces.cost import format_shares
from detnas.utils.errors import UserError
from detnas.utils.estimate import Estimate
from detnas.utils.files import write_text
from detnas.utils.progress import format_duration

STAGES = {
    layout.SUPERNET_PRETRAIN: "Supernet, pre-training",
    layout.SUPERNET_FINETUNE: "Supernet, fine-tuning on detection",
    layout.SEARCH: "Search",
    layout.PRETRAIN: "Pre-training of the networks",
    layout.FINETUNE: "Training of the detectors",
}
TOP = 10
"""The number of candidates in the table of the best. The plot of their ops takes as many, or a tenth of all."""


@dataclass(frozen=True)
class Plot:
    """A figure of the page; `key` is its id there, `summary` says in words what it shows."""

    key: str
    title: str
    summary: str
    figure: Any
    table: Sequence[Sequence[str]] = ()
    """The same numbers, for readers who cannot hover: a row of headings, then the others."""


@dataclass(frozen=True)
class StageTime:
    """A row of the table of times."""

    name: str
    state: str
    seconds: float | None
    images_per_second: float | None


def write_report(
    directory: Path, examples: Sequence[Example] = (), log: Callable[[str], object] = lambda line: None
) -> Path:
    """Write report.html into a run directory, as far as the run has come, and return its path.

    `examples` are validation images with the winner's detections; `log` is told of damaged rows of logs. Raises
    `UserError` if `directory` holds no run, if another version of detnas wrote it, or if a file is damaged.
    """
    path = directory / layout.REPORT
    write_text(path, render(collect(directory, log), examples))
    return path


def render(run: CollectedRun, examples: Sequence[Example] = ()) -> str:
    """The page as HTML."""
    loader = FunctionLoader(lambda name: files("detnas.report").joinpath(name).read_text(encoding="utf-8"))
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(points=points, count=count, ms=milliseconds, duration=format_duration, box_label=label)
    shown = embed_images(examples)
    times = _stage_times(run)
    search = _search_plots(run)
    ranking = _ranking_plots(run)
    parts = _ap_plots(run)
    curves = _loss_plots(run)
    return environment.get_template("template.html").render(
        run=run,
        answer=answer(run),
        caveat=caveat(run),
        beginnings=describe_beginnings(run.recipe, run.pretrained),
        descriptions=DESCRIPTIONS | _winner_description(run),
        finals=describe_finals(run.finals, run.recipe.search_space()) if run.finals else [],
        search=run.recipe.search,
        units=_units(run),
        best_scores={key: _highest(run, key) for key in dict.fromkeys(("mAP", "AP50", run.recipe.search.metric))},
        score_names=list(dict.fromkeys(name for network in run.networks for name in network.scores)),
        drawing=draw(run.winner.architecture, run.recipe.search_space()) if run.winner.architecture else None,
        images=shown,
        images_left_out=len(examples) - len(shown),
        most_predictions=MOST_PREDICTIONS,
        search_plots=search,
        recalibration=explain_recalibration(run.recalibration) if run.recalibration else None,
        ranking_plots=ranking,
        ap_plots=parts,
        front=plots.front(run.candidates, second) if (second := run.recipe.search.second_objective) else [],
        top=sorted(run.candidates, key=lambda candidate: candidate.fitness, reverse=True)[:TOP],
        generations=len({one.generation for one in run.candidates}),
        loss_plots=curves,
        times=times,
        total_seconds=sum(one.seconds or 0.0 for one in times),
        longest=max((one.seconds or 0.0 for one in times), default=0.0),
        command=f"detnas run recipe.yaml --out runs/again{'' if run.recipe.data.shapes else ' --data DIR'}",
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        # Plotly's own code is trusted, unlike everything else on the page, and must not be escaped.
        plotly=Markup(get_plotlyjs()) if search or ranking or parts or curves else None,
    )


def _winner_description(run: CollectedRun) -> dict[str, str]:
    won = run.finals is not None and run.finals.is_won_by_incumbent
    return {layout.WINNER: "what one would take without a search"} if won else {}


def _units(run: CollectedRun) -> str:
    """Whose cost the page shows, and what share the parts of the winner's detector have."""
    budget, winner = run.recipe.budget, run.winner
    latency = ", and the measured latency" if run.has_latencies else ""
    if budget.of == "backbone":
        text = f"MACs at {budget.size}x{budget.size} and parameters{latency} are those of the backbone alone."
    else:
        text = f"MACs for one image and parameters{latency} are those of the whole detector."
    if winner.input_size:
        macs = {name: part["macs"] for name, part in winner.parts.items()}
        height, width = winner.input_size
        whole = f"{count(sum(macs.values()))} MACs for one of {width}x{height} pixels"
        text += f" The winner's detector has {whole}: {format_shares(macs)}."
    return text


def _search_plots(run: CollectedRun) -> list[Plot]:
    if not run.candidates:
        return []
    leader = max(run.candidates, key=lambda candidate: candidate.fitness)
    cost = run.recipe.search.second_objective or "macs"
    metric = run.recipe.search.score_name
    cheapest, costliest = (extreme(candidate.cost(cost) for candidate in run.candidates) for extreme in (min, max))
    # A bound far from every candidate would press them all into a corner of the plot.
    bounds = [bound for bound in _bounds(run.recipe.budget, cost) if 0.8 * cheapest <= bound <= 1.25 * costliest]
    summary = (
        f"{len(run.candidates)} candidates, fitness from {points(min(c.fitness for c in run.candidates))} "
        f"to {points(leader.fitness)} {metric}"
    )
    won = ""
    if run.best and run.best.fitness < leader.fitness:
        whose = "the finals" if run.finals else "the model of the sampler"
        won = f" The winner is evaluation {run.best.number}, by {whose}."
    return [
        Plot(
            "plot-cost",
            "Fitness against cost, and the Pareto front",
            f"{summary}, between {_shown(cheapest, cost)} and {_shown(costliest, cost)}; the best costs "
            f"{_shown(leader.cost(cost), cost)}.{' Vertical lines: the budget.' if bounds else ''}",
            _data(plots.fitness_against_cost(run.candidates, run.best, metric, cost, bounds)),
        ),
        Plot(
            "plot-fitness",
            "Fitness by evaluation",
            f"{summary}; the best is evaluation {leader.number} in generation {leader.generation}.{won}",
            _data(plots.fitness_by_evaluation(run.candidates, run.best, metric)),
        ),
        *_ops_plots(run.candidates, run.recipe.search_space()),
    ]


def _ops_plots(candidates: Sequence[Candidate], space: SearchSpace) -> list[Plot]:
    ops = space.ops
    ranked = sorted(candidates, key=lambda candidate: candidate.fitness, reverse=True)
    best = ranked[: max(TOP, len(ranked) // 10)]
    try:
        figure = plots.ops_by_block(best, candidates, ops)
        names, blocks = plots.block_names(best[0]), zip(*plots.percentages(best, len(ops)), strict=True)
        others = _other_choices(best, candidates, space)
    except UserError:  # the text of an architecture that is not one
        return []
    rows = ([name, *map("{:.0f}".format, of_block)] for name, of_block in zip(names, blocks, strict=True))
    everywhere = "" if set(ops) <= set(PAPER_OPS) else ", or more where not every op is possible"
    return [
        Plot(
            "plot-ops",
            "What the best have in common",
            f"The percentage of the {len(best)} best candidates that have an op at a block. Random candidates would "
            f"have {100 // len(ops)} everywhere{everywhere}. Where nearly all have one op, either it helps there, or "
            f"the few parents of the last generations happened to share it.{others}",
            _data(figure),
            [["Block", *ops], *rows],
        )
    ]


def _other_choices(best: Sequence[Candidate], everyone: Sequence[Candidate], space: SearchSpace) -> str:
    """What the best and all candidates have of resolutions and of ops in the head, in words."""
    counted = (
        (plots.shares_of_resolutions, "see images of {} pixels"),
        (plots.shares_of_head_ops, "of the convolutions in heads are {}"),
    )
    said = []
    for shares, words in counted:
        of_best, of_all = shares(best, space), shares(everyone, space)
        said += [f"{of_best[name]:.0f} % {words.format(name)} (of all {of_all[name]:.0f} %)" for name in of_best]
    return f" Of the best, {', '.join(said)}." if said else ""


def _ranking_plots(run: CollectedRun) -> list[Plot]:
    ranking = run.ranking
    if ranking is None:
        return []
    taus = "; ".join(f"by {name} {_interval(quality.kendall_tau)}" for name, quality in ranking.quality.items())
    ranked = sorted(ranking.networks, key=lambda one: -one.score)
    rows = ([one.architecture, count(one.macs), points(one.fitness), points(one.score)] for one in ranked)
    return [
        Plot(
            "plot-ranking",
            "How well the supernet ranks",
            f"{len(ranking.networks)} networks trained standalone. Kendall's tau with their {ranking.metric}: {taus}. "
            "1 means the same order, 0 no relation.",
            _data(plots.standalone_against_fitness(ranking, run.recipe.search.score_name)),
            [["Architecture", "MACs", "Fitness", f"Standalone {ranking.metric}"], *rows],
        )
    ]


def _ap_plots(run: CollectedRun) -> list[Plot]:
    """AP by object size and by class of the evaluated networks, as far as there are colors for them."""
    evaluated = [network for network in run.networks if network.is_evaluated][: len(plots.NETWORK_COLORS)]
    names = [network.name for network in evaluated]
    found = []
    if any(network.scores.get(key) is not None for network in evaluated for key in plots.SIZES):
        rows = [[size, *(points(one.scores.get(key)) for one in evaluated)] for key, size in plots.SIZES.items()]
        found.append(
            Plot(
                "plot-sizes",
                "By object size",
                "Small: below 32 by 32 pixels of the stored image; medium: below 96 by 96; large: the others. A size "
                "without dots has no objects in the validation set.",
                _data(plots.by_size(evaluated)),
                [["Objects", *names], *rows],
            )
        )
    if classes := _classes(evaluated):
        hardest = f"The hardest class is {classes[-1]}, the easiest {classes[0]}. " if len(classes) > 1 else ""
        rows = [[name, *(points(one.per_class.get(name)) for one in evaluated)] for name in classes]
        found.append(
            Plot(
                "plot-classes",
                "By class",
                f"{hardest}In the order of AP of the network {evaluated[0].name}.",
                _data(plots.by_class(evaluated, classes)),
                [["Class", *names], *rows],
            )
        )
    return found


def _classes(evaluated: Sequence[Network]) -> list[str]:
    """The classes with a score, in the order of the first network's AP, the highest first."""
    scored = dict.fromkeys(name for one in evaluated for name, score in one.per_class.items() if score is not None)
    return sorted(scored, key=lambda name: -(evaluated[0].per_class.get(name) or 0.0))


def _interval(found: Estimate) -> str:
    value, low, high = (UNKNOWN if isnan(x) else f"{x:.2f}" for x in (found.value, found.low, found.high))
    return f"{value} (95 % interval {low} to {high})"


def _loss_plots(run: CollectedRun) -> list[Plot]:
    found = []
    for stage, name in STAGES.items():
        trainings = [training for training in run.trainings if training.stage == stage and "loss" in training.curves]
        if trainings:
            summary = f"Loss: {'; '.join(_fall(training) for training in trainings)}."
            found.append(Plot(f"plot-{stage}", name, summary, _data(plots.losses(trainings))))
    return found


def _fall(training: Training) -> str:
    loss = training.curves["loss"]
    first, last = loss.values[0], loss.values[-1]
    return f"{training.network or 'supernet'} from {first:.3g} to {last:.3g} in {loss.steps[-1]:,} steps"


def _data(figure: go.Figure) -> Any:
    # Plotly's encoder turns arrays and NaN into JSON that browsers accept.
    return json.loads(figure.to_json())


def _bounds(budget: BudgetSettings, cost: str) -> list[float]:
    """The bounds on a cost that the budget sets, apart from 0."""
    return [bound for side in ("min", "max") if (bound := getattr(budget, f"{cost}_{side}"))]


def _shown(value: float, cost: str) -> str:
    return milliseconds(value) if cost == "latency" else f"{count(value)} {'MACs' if cost == 'macs' else 'parameters'}"


def _highest(run: CollectedRun, score: str) -> float | None:
    return max((value for network in run.networks if (value := network.scores.get(score)) is not None), default=None)


def _stage_times(run: CollectedRun) -> list[StageTime]:
    recipe = run.recipe
    is_part = {
        layout.SUPERNET_PRETRAIN: recipe.pretrains_supernet,
        layout.SUPERNET_FINETUNE: not recipe.search.is_classification,
    }
    times = []
    for stage, name in STAGES.items():
        if stage == layout.SEARCH:
            state = "done" if run.is_searched else "in progress" if run.candidates else "not run yet"
            times.append(StageTime(name, state, run.search_seconds, None))
        for training in (training for training in run.trainings if training.stage == stage):
            state = "done" if training.seconds is not None else "in progress" if training.curves else "not run yet"
            is_left_out = stage == layout.PRETRAIN and not is_pretrained(recipe, training.network)
            if state == "not run yet" and (is_left_out or not is_part.get(stage, True)):
                state = "not part of this run"
            title = f"{name}: {training.network}" if training.network else name
            times.append(StageTime(title, state, training.seconds, training.images_per_second))
    return times
