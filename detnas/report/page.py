"""Puts the page together: the run's values, the plots and the images into the template."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from detnas.report import plots
from detnas.report.answer import DESCRIPTIONS, UNKNOWN, answer, caveat, count, milliseconds, points
from detnas.report.collect import Candidate, Network, Run, Training, collect
from detnas.report.drawing import draw
from detnas.report.images import MOST_PREDICTIONS, Example, embed_images, label
from detnas.utils.errors import UserError
from detnas.utils.files import write_text
from detnas.utils.progress import format_duration

STAGES = {
    "supernet-pretrain": "Supernet, pre-training",
    "supernet-finetune": "Supernet, fine-tuning on detection",
    "search": "Search",
    "pretrain": "Pre-training of the networks",
    "finetune": "Training of the detectors",
}
TOP = 10
"""Candidates in the table of the best, and at least so many, or a tenth of all, in the image of their ops."""


@dataclass(frozen=True)
class Plot:
    """A figure of the page; `key` is its id there, `summary` says in words what it shows."""

    key: str
    title: str
    summary: str
    figure: Any
    table: Sequence[Sequence[str]] = ()
    """The same in numbers, for who has no pointer to ask it: a row of headings, then the others."""


@dataclass(frozen=True)
class Spell:
    """A line of the table of times."""

    name: str
    state: str
    seconds: float | None
    images_per_second: float | None


def write_report(run: Path, examples: Sequence[Example] = ()) -> Path:
    """Write `run`/report.html, as far as the run has come, and return its path."""
    found = collect(run)
    path = run / "report.html"
    write_text(path, render(found, examples))
    return path


def render(run: Run, examples: Sequence[Example] = ()) -> str:
    """The page as text."""
    environment = Environment(
        loader=FunctionLoader(lambda name: files("detnas.report").joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(points=points, count=count, ms=milliseconds, duration=format_duration, box_label=label)
    shown = embed_images(examples)
    spells = _spells(run)
    search = _search_plots(run)
    ranking = _ranking_plots(run)
    parts = _ap_plots(run)
    curves = _loss_plots(run)
    return environment.get_template("template.html").render(
        run=run,
        answer=answer(run),
        caveat=caveat(run),
        descriptions=DESCRIPTIONS,
        side=(run.recipe.get("budget") or {}).get("size", 224),
        best_scores={key: _highest(run, key) for key in dict.fromkeys(("mAP", "AP50", run.detection_metric))},
        score_names=list(dict.fromkeys(name for network in run.networks for name in network.scores)),
        drawing=draw(run.winner.architecture, run.recipe.get("space") or {}) if run.winner.architecture else None,
        images=shown,
        images_left_out=len(examples) - len(shown),
        most_predictions=MOST_PREDICTIONS,
        search_plots=search,
        ranking_plots=ranking,
        ap_plots=parts,
        front=plots.front(run.candidates, run.second_objective) if run.second_objective else [],
        top=sorted(run.candidates, key=lambda candidate: candidate.fitness, reverse=True)[:TOP],
        generations=len({one.generation for one in run.candidates}),
        loss_plots=curves,
        spells=spells,
        total_seconds=sum(spell.seconds or 0.0 for spell in spells),
        longest=max((spell.seconds or 0.0 for spell in spells), default=0.0),
        command=_command(run),
        versions=run.recipe.get("versions") or {},
        fingerprint=run.recipe.get("data_fingerprint"),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        # The library is ours to trust, unlike everything else on the page, and is not to be escaped.
        plotly=Markup(get_plotlyjs()) if search or ranking or parts or curves else None,
    )


def _search_plots(run: Run) -> list[Plot]:
    if not run.candidates:
        return []
    leader = max(run.candidates, key=lambda candidate: candidate.fitness)
    cost = run.second_objective or "macs"
    cheapest, costliest = (extreme(candidate.cost(cost) for candidate in run.candidates) for extreme in (min, max))
    # A bound far from every candidate would press them all into a corner of the plot.
    bounds = [bound for bound in _bounds(run.recipe, cost) if 0.8 * cheapest <= bound <= 1.25 * costliest]
    summary = (
        f"{len(run.candidates)} candidates, fitness from {points(min(c.fitness for c in run.candidates))} "
        f"to {points(leader.fitness)} {run.metric}"
    )
    won = ""
    if run.best and run.best.fitness is not None and run.best.fitness < leader.fitness:
        won = f" The winner is evaluation {run.best.number}, by the model of the sampler."
    return [
        Plot(
            "plot-cost",
            "Fitness against cost, and the Pareto front",
            f"{summary}, between {_shown(cheapest, cost)} and {_shown(costliest, cost)}; the best costs "
            f"{_shown(leader.cost(cost), cost)}.{' Vertical lines: the budget.' if bounds else ''}",
            _data(plots.fitness_against_cost(run.candidates, run.best, run.metric, cost, bounds)),
        ),
        Plot(
            "plot-fitness",
            "Fitness by evaluation",
            f"{summary}; the best is evaluation {leader.number} in generation {leader.generation}.{won}",
            _data(plots.fitness_by_evaluation(run.candidates, run.best, run.metric)),
        ),
        *_pattern(run.candidates, run.ops),
    ]


def _pattern(candidates: Sequence[Candidate], ops: Sequence[str]) -> list[Plot]:
    ranked = sorted(candidates, key=lambda candidate: candidate.fitness, reverse=True)
    best = ranked[: max(TOP, len(ranked) // 10)]
    try:
        figure = plots.choices(best, candidates, ops)
        names, counted = plots.block_names(best[0]), plots.shares(best, len(ops))
    except UserError:  # an architecture that is not made of the known ops
        return []
    return [
        Plot(
            "plot-ops",
            "What the best have in common",
            f"Per cent of the {len(best)} best candidates that have an op at a block. Draws at random would have "
            f"{100 // len(ops)} everywhere; where one op has nearly all, the search finds it worth having there, or "
            "its few parents happened to share it.",
            _data(figure),
            [
                ["Block", *ops],
                *(
                    [name, *map("{:.0f}".format, of)]
                    for name, of in zip(names, zip(*counted, strict=True), strict=True)
                ),
            ],
        )
    ]


def _ranking_plots(run: Run) -> list[Plot]:
    ranking = run.ranking
    if ranking is None:
        return []
    taus = "; ".join(
        f"by {name} {_rounded(tau['value'])} (95 % interval {_rounded(tau['low'])} to {_rounded(tau['high'])})"
        for name, tau in ranking.taus.items()
    )
    return [
        Plot(
            "plot-ranking",
            "How well the supernet ranks",
            f"{len(ranking.networks)} networks trained standalone. Kendall's tau with their {ranking.metric}: {taus}. "
            "1 would be the same order, 0 none.",
            _data(plots.trained_alone(ranking, run.metric)),
            [
                ["Architecture", "MACs", "Fitness", f"{ranking.metric} alone"],
                *(
                    [one["architecture"], count(one["macs"]), points(one["fitness"]), points(one["score"])]
                    for one in sorted(ranking.networks, key=lambda one: -one["score"])
                ),
            ],
        )
    ]


def _ap_plots(run: Run) -> list[Plot]:
    """By object size and by class, of the networks that have been judged; no more than can be told apart."""
    judged = [network for network in run.networks if network.evaluated][: len(plots.NETWORK_COLORS)]
    found = []
    if any(network.scores.get(key) is not None for network in judged for key in plots.SIZES):
        found.append(
            Plot(
                "plot-sizes",
                "By object size",
                "Small: below 32 by 32 pixels of the stored image; medium: below 96 by 96; large: the others. A size "
                "without dots has no objects in the validation set.",
                _data(plots.by_size(judged)),
                [
                    ["Objects", *(network.name for network in judged)],
                    *([name, *(points(one.scores.get(key)) for one in judged)] for key, name in plots.SIZES.items()),
                ],
            )
        )
    classes = _classes(judged)
    if classes:
        hardest = f"The hardest class is {classes[-1]}, the easiest {classes[0]}. " if len(classes) > 1 else ""
        rows = ([name, *(points(one.per_class.get(name)) for one in judged)] for name in classes)
        found.append(
            Plot(
                "plot-classes",
                "By class",
                f"{hardest}In the order of the AP of {judged[0].name}.",
                _data(plots.by_class(judged, classes)),
                [["Class", *(network.name for network in judged)], *rows],
            )
        )
    return found


def _classes(judged: Sequence[Network]) -> list[str]:
    """Those with a score, the first network's best first."""
    names = dict.fromkeys(name for network in judged for name, score in network.per_class.items() if score is not None)
    return sorted(names, key=lambda name: -(judged[0].per_class.get(name) or 0.0))


def _command(run: Run) -> str:
    """What repeats the run, given its recipe.yaml."""
    own = (run.recipe.get("data") or {}).get("shapes") is None
    return f"detnas run recipe.yaml --out runs/again{' --data DIR' if own else ''}"


def _rounded(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"


def _loss_plots(run: Run) -> list[Plot]:
    found = []
    for stage, name in STAGES.items():
        trainings = [training for training in run.trainings if training.stage == stage and "loss" in training.curves]
        if trainings:
            summary = f"Loss: {'; '.join(_fall(training) for training in trainings)}."
            found.append(Plot(f"plot-{stage}", name, summary, _data(plots.losses(trainings))))
    return found


def _fall(training: Training) -> str:
    loss = training.curves["loss"]
    name = training.network or "supernet"
    return f"{name} from {loss.values[0]:.3g} to {loss.values[-1]:.3g} in {loss.steps[-1]:,} steps"


def _data(figure: go.Figure) -> Any:
    # Through plotly's own encoder: it turns arrays and NaN into what a browser's JSON reader accepts.
    return json.loads(figure.to_json())


def _bounds(recipe: Mapping[str, Any], cost: str) -> list[float]:
    """The finite bounds on a cost that the recipe's budget names, above nothing."""
    budget = recipe.get("budget") or {}
    return [float(bound) for key in (f"{cost}_min", f"{cost}_max") if (bound := budget.get(key))]


def _shown(value: float, cost: str) -> str:
    if cost == "latency":
        return milliseconds(value)
    return f"{count(value)} {'MACs' if cost == 'macs' else 'parameters'}"


def _highest(run: Run, score: str) -> float | None:
    return max((value for network in run.networks if (value := network.scores.get(score)) is not None), default=None)


def _spells(run: Run) -> list[Spell]:
    parts = {
        "supernet-pretrain": run.pretrains_supernet,
        "supernet-finetune": not run.by_classification,
        "pretrain": run.pretrains,
    }
    left_out = {stage for stage, part in parts.items() if not part}
    spells = []
    for stage, name in STAGES.items():
        if stage == "search":
            state = "done" if run.search_done else "under way" if run.candidates else "not run yet"
            spells.append(Spell(name, state, run.search_seconds, None))
        for training in (training for training in run.trainings if training.stage == stage):
            state = "done" if training.done else "under way" if training.curves else "not run yet"
            if state == "not run yet" and stage in left_out:
                state = "not part of this run"
            title = f"{name}: {training.network}" if training.network else name
            spells.append(Spell(title, state, training.seconds, training.images_per_second))
    return spells
