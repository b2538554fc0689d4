"""Reads a run directory into plain typed values; knows the files' formats and nothing of how they are shown."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from detnas.config.search import find_evaluator
from detnas.report.recalibration import RecalibrationCheck
from detnas.spaces import PAPER_OPS
from detnas.utils.errors import UserError

SUPERNET_STAGES = ("supernet-pretrain", "supernet-finetune")
NETWORK_STAGES = ("pretrain", "finetune")
WINNER = "winner"


@dataclass(frozen=True)
class Curve:
    """One measured quantity over the steps of a training."""

    steps: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True)
class Training:
    """One training of the run: of the supernet (`network` is empty) or of a network."""

    stage: str
    network: str = ""
    curves: Mapping[str, Curve] = field(default_factory=dict)
    images_per_second: float | None = None
    seconds: float | None = None
    done: bool = False


@dataclass(frozen=True)
class Candidate:
    """One architecture that the search evaluated; its fitness is the run's `metric` on the search split."""

    number: int
    generation: int
    origin: str
    architecture: str
    macs: int
    params: int
    fitness: float
    ap50: float | None
    latency_ms: float | None = None

    def cost(self, name: str) -> float:
        """Its "macs", "params" or "latency", the last in milliseconds."""
        return {"macs": self.macs, "params": self.params, "latency": self.latency_ms or 0.0}[name]


@dataclass(frozen=True)
class Ranking:
    """Networks that were trained standalone, beside the supernet's fitness; with Kendall's tau."""

    metric: str
    networks: Sequence[Mapping[str, Any]]
    """Of each: architecture, macs, fitness, score (of `metric`)."""
    taus: Mapping[str, Mapping[str, float | None]]
    """By what ranks them; value, low and high."""


@dataclass(frozen=True)
class Best:
    """What the search chose."""

    architecture: str
    fitness: float | None
    macs: int
    params: int
    number: int | None
    latency_ms: float | None = None


@dataclass(frozen=True)
class Network:
    """The winner or a baseline; what is not known yet is None or empty, as is the architecture of a ResNet."""

    name: str
    architecture: str | None = None
    macs: int | None = None
    params: int | None = None
    images: int | None = None
    scores: Mapping[str, float | None] = field(default_factory=dict)
    per_class: Mapping[str, float | None] = field(default_factory=dict)
    latency_ms: float | None = None
    """Of the backbone, by the run's table of latencies."""

    @property
    def evaluated(self) -> bool:
        return bool(self.scores)

    @property
    def map(self) -> float | None:
        return self.scores.get("mAP")


@dataclass(frozen=True)
class Run:
    """Everything that a run directory tells."""

    name: str
    recipe: Mapping[str, Any]
    recipe_text: str
    trainings: Sequence[Training]
    candidates: Sequence[Candidate]
    best: Best | None
    search_done: bool
    search_seconds: float | None
    networks: Sequence[Network]
    ranking: Ranking | None = None
    recalibration: RecalibrationCheck | None = None
    failed: int = 0
    """Candidates that could not be evaluated."""

    @property
    def pretrains(self) -> bool:
        """False when the recipe says that nothing is pre-trained in this run."""
        return (self.recipe.get("pretraining") or {}).get("source", "") not in (None, "none")

    @property
    def pretrains_supernet(self) -> bool:
        """False when the supernet begins with detection."""
        return self.pretrains and (self.recipe.get("pretraining") or {}).get("supernet", True)

    @property
    def by_classification(self) -> bool:
        """Whether candidates were judged by classification, of a supernet that did not learn detection."""
        return bool(self._evaluator.task == "classification")

    @property
    def metric(self) -> str:
        """The name of the score that is the candidates' fitness."""
        return str(self._evaluator.score.format(fitness=self._fitness, metric=self.detection_metric))

    @property
    def _fitness(self) -> str:
        return str((self.recipe.get("search") or {}).get("fitness", "detection"))

    @property
    def _evaluator(self) -> Any:
        return find_evaluator(self._fitness)

    @property
    def ops(self) -> Sequence[str]:
        """Those of the space, in the order of their digits."""
        return tuple((self.recipe.get("space") or {}).get("ops") or PAPER_OPS)

    @property
    def detection_metric(self) -> str:
        """The name of the score that candidates are judged by where they are judged by detection."""
        return str((self.recipe.get("search") or {}).get("metric", "mAP"))

    @property
    def second_objective(self) -> str | None:
        """The cost that is the second objective of the search, where it has two."""
        return (self.recipe.get("search") or {}).get("second_objective")

    @property
    def timed(self) -> bool:
        """Whether the run had a table of latencies."""
        return bool((self.recipe.get("budget") or {}).get("latencies"))

    @property
    def winner(self) -> Network:
        return self.networks[0]

    @property
    def baselines(self) -> Sequence[Network]:
        return self.networks[1:]


def collect(run: Path) -> Run:
    """Reads the run directory `run`, as far as the run has come."""
    recipe_file = run / "recipe.yaml"
    if not recipe_file.is_file():
        raise UserError(f"{run} is no run: it has no recipe.yaml; `detnas run RECIPE --out {run}` makes one")
    recipe_text = recipe_file.read_text(encoding="utf-8")
    recipe = yaml.safe_load(recipe_text)
    if not isinstance(recipe, dict):
        raise UserError(f"{recipe_file} holds {type(recipe).__name__}, not a recipe")
    best = _read_best(run / "search" / "best.json")
    names = _network_names(run, recipe)
    trainings = [_read_training(run / stage, stage) for stage in SUPERNET_STAGES]
    trainings += [_read_training(run / stage / name, stage, name) for stage in NETWORK_STAGES for name in names]
    done = _read_json(run / "search" / "done.json")
    recalibration = _read_json(run / "search" / "recalibration.json")
    return Run(
        name=str(recipe.get("name") or run.resolve().name),
        recipe=recipe,
        recipe_text=_without_passwords(recipe_text),
        trainings=trainings,
        candidates=_read_candidates(run / "search" / "candidates.jsonl"),
        best=best,
        search_done=done is not None,
        search_seconds=_number((done or {}).get("seconds")),
        networks=[_read_network(run, name, best) for name in names],
        ranking=_read_ranking(run / "rank" / "ranking.json"),
        recalibration=RecalibrationCheck.of(recalibration) if recalibration else None,
        failed=len(_read_lines(run / "search" / "failed.jsonl")),
    )


def _network_names(run: Path, recipe: Mapping[str, Any]) -> list[str]:
    """The winner first, the baselines in the recipe's order, then whatever else has been trained."""
    baselines = recipe.get("baselines") or ()
    wanted = [str(name) for name in baselines] if isinstance(baselines, (list, dict)) else []
    folders = [folder for stage in NETWORK_STAGES for folder in sorted((run / stage).glob("*")) if folder.is_dir()]
    return list(dict.fromkeys([WINNER, *wanted, *(folder.name for folder in folders)]))


def _read_training(folder: Path, stage: str, network: str = "") -> Training:
    # A run that was killed goes on from its last checkpoint and writes the steps after it again: the later line counts.
    # What a network scored is a line of its own, after the last step.
    lines: dict[int, dict[str, Any]] = {}
    for line in _read_lines(folder / "metrics.jsonl"):
        if "step" in line:
            lines.setdefault(int(line["step"]), {}).update(line)
    ordered = [lines[step] for step in sorted(lines)]
    keys = [key for key in dict.fromkeys(key for line in ordered for key in line) if key == "accuracy" or "loss" in key]
    curves = {}
    for key in keys:
        points = [(int(line["step"]), value) for line in ordered if (value := _number(line.get(key))) is not None]
        curves[key] = Curve([step for step, _ in points], [value for _, value in points])
    rates = [rate for line in ordered if (rate := _number(line.get("images_per_second"))) is not None]
    done = _read_json(folder / "done.json")
    return Training(
        stage=stage,
        network=network,
        curves={key: curve for key, curve in curves.items() if curve.steps},
        images_per_second=median(rates) if rates else None,
        seconds=_number((done or {}).get("seconds")),
        done=done is not None,
    )


def _read_candidates(path: Path) -> list[Candidate]:
    lines = {int(line["number"]): line for line in _read_lines(path) if _number(line.get("fitness")) is not None}
    return [
        Candidate(
            number=number,
            generation=int(line["generation"]),
            origin=str(line.get("origin", "random")),
            architecture=str(line["architecture"]),
            macs=int(line["macs"]),
            params=int(line["params"]),
            fitness=float(line["fitness"]),
            ap50=_number(line.get("AP50")),
            latency_ms=_number(line.get("latency_ms")),
        )
        for number, line in sorted(lines.items())
    ]


def _read_best(path: Path) -> Best | None:
    best = _read_json(path)
    if best is None:
        return None
    return Best(
        architecture=str(best["architecture"]),
        fitness=_number(best.get("fitness")),
        macs=int(best["macs"]),
        params=int(best["params"]),
        number=best.get("number"),
        latency_ms=_number(best.get("latency_ms")),
    )


def _read_ranking(path: Path) -> Ranking | None:
    found = _read_json(path)
    if found is None:
        return None
    taus = {
        name: {key: _number(value) for key, value in quality["kendall_tau"].items()}
        for name, quality in found["quality"].items()
    }
    return Ranking(metric=found["metric"], networks=found["networks"], taus=taus)


def _read_network(run: Path, name: str, best: Best | None) -> Network:
    evaluation = _read_json(run / "finetune" / name / "evaluation.json")
    if evaluation is None:
        if best is None or name != WINNER:
            return Network(name)
        return Network(name, best.architecture, best.macs, best.params, latency_ms=best.latency_ms)
    return Network(
        name=name,
        architecture=evaluation["architecture"],
        macs=int(evaluation["macs"]),
        params=int(evaluation["params"]),
        images=evaluation.get("images"),
        scores={key: _number(value) for key, value in evaluation["scores"].items()},
        per_class={key: _number(value) for key, value in (evaluation.get("per_class") or {}).items()},
        latency_ms=_number(evaluation.get("latency_ms")),
    )


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); delete it and give the run's command again") from None


def _read_lines(path: Path) -> list[dict[str, Any]]:
    # More forgiving than `files.read_json_lines`: a page with one point fewer is better than no page.
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue  # a line that is being written, or was cut by a kill
        if isinstance(line, dict):
            lines.append(line)
    return lines


def _number(value: object) -> float | None:
    """A finite number, or None: COCO's "no such objects" and a diverged loss are both nothing to draw."""
    if not isinstance(value, (int, float)) or value != value or value in (float("inf"), float("-inf")):
        return None
    return float(value)


def _without_passwords(text: str) -> str:
    # The page is passed around, and a study's storage may be a database address with a password in it.
    return re.sub(r"(://[^\s:/@]*):[^\s/@]+@", r"\1:***@", text)
