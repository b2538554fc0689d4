"""Reads a run directory, as far as the run has come; knows nothing of how the page shows it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from pathlib import Path
from statistics import median

from detnas.config import Recipe, load_recipe
from detnas.rundir import layout
from detnas.rundir.directory import format_stored_run, read_stored_run
from detnas.rundir.layout import Candidate, FinalsResult, MetricsRow, Pretrained, Ranking, RecalibrationCheck, StoredRun
from detnas.utils.text import NAME


@dataclass(frozen=True)
class Curve:
    """A metric over the steps of a training."""

    steps: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True)
class Training:
    """One training: of the supernet (`network` is empty) or of a network. `seconds` is None until its end."""

    stage: str
    network: str = ""
    curves: Mapping[str, Curve] = field(default_factory=dict)
    """Losses and accuracies, by the names that they have in metrics.jsonl."""
    images_per_second: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Network:
    """The winner or a baseline; what is not known yet is None or empty, as is the architecture of a ResNet."""

    name: str
    architecture: str | None = None
    macs: int | None = None
    params: int | None = None
    images: int | None = None
    """In the validation set."""
    scores: Mapping[str, float | None] = field(default_factory=dict)
    per_class: Mapping[str, float | None] = field(default_factory=dict)
    latency_ms: float | None = None
    """By the run's table of latencies."""
    parts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """MACs and params of backbone, pyramid and heads of the whole detector, for an image of `input_size`."""
    input_size: tuple[int, int] | None = None
    """Height and width."""

    @property
    def is_evaluated(self) -> bool:
        return bool(self.scores)

    @property
    def map(self) -> float | None:
        return self.scores.get("mAP")


@dataclass(frozen=True)
class CollectedRun:
    """Everything that the page shows of a run."""

    recipe: Recipe
    stored: StoredRun
    recipe_text: str
    """recipe.yaml without its comments, which may hold anything."""
    networks: Sequence[Network]
    trainings: Sequence[Training] = ()
    candidates: Sequence[Candidate] = ()
    num_failed: int = 0
    """Candidates that could not be evaluated."""
    best: Candidate | None = None
    """The candidate that is handed over, once that is known."""
    search_seconds: float | None = None
    finals: FinalsResult | None = None
    ranking: Ranking | None = None
    recalibration: RecalibrationCheck | None = None
    pretrained: Pretrained | None = None
    """The learned weights with which the supernet began."""

    @property
    def is_searched(self) -> bool:
        return self.search_seconds is not None

    @property
    def has_latencies(self) -> bool:
        return self.recipe.budget.latencies is not None

    @property
    def winner(self) -> Network:
        return self.networks[0]

    @property
    def baselines(self) -> Sequence[Network]:
        return self.networks[1:]


def collect(directory: Path, log: Callable[[str], object] = lambda line: None) -> CollectedRun:
    """Read the run directory, as far as the run has come. `log` is told of damaged rows of logs, which are left out.

    Raises `UserError` if it holds no run, if another version of detnas wrote it, or if a file is damaged.
    """
    stored = read_stored_run(directory)
    recipe = load_recipe(directory / layout.RECIPE)
    candidates = layout.CANDIDATES.read(directory / layout.SEARCH)
    best, finals = layout.BEST.find(directory / layout.SEARCH), layout.FINALS_RESULT.find(directory / layout.FINALS)
    if recipe.finals:
        best = next((row for row in candidates if finals and row.architecture == finals.winner), None)
    names = _network_names(directory, recipe)
    trainings = [(layout.SUPERNET_PRETRAIN, ""), (layout.SUPERNET_FINETUNE, "")]
    trainings += [(stage, name) for stage in (layout.PRETRAIN, layout.FINETUNE) for name in names]
    searched = layout.SEARCH_DONE.find(directory / layout.SEARCH)
    return CollectedRun(
        recipe=recipe,
        stored=stored,
        recipe_text=format_stored_run(stored),
        networks=[_read_network(directory, name, best) for name in names],
        trainings=[_read_training(directory / stage / name, stage, name, log) for stage, name in trainings],
        candidates=candidates,
        num_failed=len(layout.FAILED.read(directory / layout.SEARCH)),
        best=best,
        search_seconds=None if searched is None else searched.seconds,
        finals=finals,
        ranking=layout.RANKING.find(directory / layout.RANK),
        recalibration=layout.RECALIBRATION.find(directory / layout.SEARCH),
        pretrained=layout.PRETRAINED.find(directory),
    )


def _network_names(directory: Path, recipe: Recipe) -> list[str]:
    """The winner first, then the best incumbent, the baselines in the recipe's order, and whatever else has been
    trained."""
    folders = [*sorted(directory.glob(f"{layout.PRETRAIN}/*/")), *sorted(directory.glob(f"{layout.FINETUNE}/*/"))]
    others = (folder.name for folder in folders if NAME.fullmatch(folder.name))  # as every network's
    found = dict.fromkeys(others)
    first = [layout.WINNER, *([layout.INCUMBENT] if layout.INCUMBENT in found else [])]
    return list(dict.fromkeys([*first, *recipe.baselines, *found]))


def _read_training(folder: Path, stage: str, network: str, log: Callable[[str], object]) -> Training:
    # Of two rows of a step the later counts: a killed training writes again what follows its last checkpoint.
    rows = {row.step: row for row in layout.METRICS.read_log(folder, log) if row.loss is not None}
    ordered = [rows[step] for step in sorted(rows)]
    names = dict.fromkeys(name for row in ordered for name in row.metrics if name == "accuracy" or "loss" in name)
    curves = {name: curve for name in names if (curve := _curve(ordered, name)).steps}
    rates = _curve(ordered, "images_per_second").values
    done = layout.TRAINING_DONE.find(folder)
    return Training(stage, network, curves, median(rates) if rates else None, None if done is None else done.seconds)


def _curve(rows: Sequence[MetricsRow], name: str) -> Curve:
    """The finite values of a metric: a diverged loss cannot be drawn."""
    points = [(row.step, value) for row in rows if isfinite(value := row.metrics.get(name, nan))]
    return Curve([step for step, _ in points], [value for _, value in points])


def _read_network(directory: Path, name: str, best: Candidate | None) -> Network:
    evaluation = layout.EVALUATION.find(directory / layout.FINETUNE / name)
    if evaluation is not None:
        return Network(**evaluation.model_dump(exclude={"network"}), name=name)
    if best is not None and name == layout.WINNER:
        return Network(name, best.architecture, best.macs, best.params, latency_ms=best.latency_ms)
    return Network(name)
