"""What a run leaves on disk: the name of every file and folder, and the type of every record.

    RUN/
      recipe.yaml                     the recipe, the format, versions and data set of the run (`StoredRun`)
      splits.json                     images that were taken from the training images (`Splits`)
      pretrained.json                 what the learned weights are with which the supernet began (`Pretrained`)
      latencies.json                  the table of latencies, if the budget uses one
      detector.safetensors            the winner's detector
      report.html                     the page
      data/                           the embedded data set, if the run draws it
      images/                         decoded images; it may be deleted at any time
      supernet-pretrain/              trainings of the supernet
      supernet-finetune/
      search/                         study.db, candidates.jsonl, failed.jsonl, best.json, front.json,
                                      recalibration.json, done.json
      finals/                         rung1/NAME/ and so on, trainings of the finalists, with evaluation.json and
                                      detections.json on the search split; pretrain/; best.json
      pretrain/NAME/                  trainings of the winner and of each baseline
      finetune/NAME/                  the same, and evaluation.json, detections.json, detector.safetensors
      rank/                           pretrain/ and finetune/ of `detnas rank`, and ranking.json

A folder of a training holds checkpoint-STEP.pt, metrics.jsonl, TensorBoard's events.out.tfevents.*, and at its end
done.json. Every file is written to a temporary name, flushed and renamed.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from detnas.rundir.record_files import LogLines, RecordFile, RecordLines
from detnas.utils.estimate import Estimate

FORMAT = 3
"""The version of all that is described here. The first edition of detnas, up to 0.1, wrote none."""

# Files of the run directory itself.
RECIPE = "recipe.yaml"
LATENCIES = "latencies.json"
WEIGHTS = "detector.safetensors"
REPORT = "report.html"
LOCK = ".lock"
"""Held while a process works in the run directory, or in its search."""
DATA = "data"
IMAGES = "images"

# Folders of the stages.
SUPERNET_PRETRAIN = "supernet-pretrain"
SUPERNET_FINETUNE = "supernet-finetune"
SEARCH = "search"
FINALS = "finals"
PRETRAIN = "pretrain"
FINETUNE = "finetune"
RANK = "rank"

WINNER = "winner"
"""What the network that is handed over is called, beside the baselines."""
INCUMBENT = "incumbent"
"""What the best of the networks that one would take without a search is called, where it is not the winner."""

# Files of the search.
STUDY = "study.db"
WRITING_LOCK = ".writing"
"""Held by the worker that writes candidates.jsonl, so that none writes what it knew before another wrote."""
CHECKING_LOCK = ".checking"
"""Held by the worker that checks the recalibration, when several finish a search together."""


_CHECKPOINT = re.compile(r"checkpoint-([0-9]{8,12})\.pt")


def checkpoint_path(folder: Path, step: int) -> Path:
    """The checkpoint of the training in `folder` after `step` steps."""
    return folder / f"checkpoint-{step:08}.pt"


def checkpoint_paths(folder: Path) -> list[Path]:
    """The checkpoints of the training in `folder`, the newest first; copies with other names are not among them."""
    paths = (path for path in folder.glob("checkpoint-*.pt") if _CHECKPOINT.fullmatch(path.name))
    return sorted(paths, key=checkpoint_step, reverse=True)


def checkpoint_step(path: Path) -> int:
    return int(path.stem.removeprefix("checkpoint-"))


def network_lock(folder: Path, name: str) -> Path:
    """The lock of whoever trains the network `name` in `folder`, of the processes that share a `detnas rank`."""
    return folder / f".{name}.lock"


Count = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, lt=1e12)]
Text = Annotated[str, Field(max_length=10_000)]


class Record(BaseModel):
    """What a file holds. Fields that it does not know are refused: another version of detnas wrote them."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StoredRun(Record):
    """What recipe.yaml holds: the recipe's own keys, and these beside them."""

    recipe: dict[str, Any]
    format: int
    versions: dict[str, str]
    """Of detnas, torch, torchvision and Python, when the run began."""
    data_directory: str
    """Relative to the run directory if it lies in there."""
    data_fingerprint: str
    """A digest of the data set, by which a later change of it is noticed."""


STORED_KEYS = tuple(name for name in StoredRun.model_fields if name != "recipe")
"""The keys of recipe.yaml that are not the recipe's."""


class SplitImage(Record):
    id: int
    file: str
    """Relative to the data directory where it lies in there."""


Splits = dict[str, list[SplitImage]]
"""The images of the `search` split and, if it was taken from the training images, of `val`."""


class Pretrained(Record):
    """The learned weights with which the networks of a run begin."""

    where: Text
    sha256: str
    """Of the file that held them, by which a later change of it is noticed."""
    shuffle: Literal["even_odd", "interleave"]
    """How the supernet splits channels."""


class TrainingDone(Record):
    seconds: Seconds
    steps: Count
    files: dict[str, str] = {}
    """Of a detector, once it is evaluated: the SHA-256 of each file that this has left."""


class SearchDone(Record):
    seconds: Seconds
    """Of all evaluations together."""
    evaluations: Count
    files: dict[str, str] = {}
    """The SHA-256 of each file that the search has left, by which a later change of it is noticed."""


class MetricsRow(BaseModel):
    """Means over some steps of a training; or, without a loss, the scores of the network after the last step.

    What else there is depends on the task: parts of the loss, accuracy, learning rate, images a second and so on.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Annotated[int, Field(gt=-(2**63), lt=2**63)] | float | None]

    step: Count
    """The number of steps after which the row was written."""
    seconds: Seconds | None = None
    """Of the training so far."""
    loss: float | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """All that was measured, by name."""
        values = {"loss": self.loss, **self.__pydantic_extra__}
        return {name: value for name, value in values.items() if value is not None}


class Proposed(Record):
    """An architecture that the search proposed."""

    number: Count
    """The evaluation index, from 0."""
    generation: Count
    origin: str
    """How it was made: "incumbent", "random", "mutation", "crossover", "linear" or "tpe"."""
    architecture: Text


class Candidate(Proposed):
    """An architecture that the search evaluated. A line of candidates.jsonl, and all of best.json."""

    macs: Count
    params: Count
    latency_ms: Number | None = None
    """By the run's table of latencies; not written without one."""
    fitness: Number
    """The score named `metric` on the search split."""
    metric: str
    AP50: Number | None
    seconds: Seconds

    def cost(self, name: str) -> float:
        """Its "macs", "params" or "latency", the last in milliseconds (0 without a table of latencies)."""
        return {"macs": self.macs, "params": self.params, "latency": self.latency_ms or 0.0}[name]


class FailedCandidate(Proposed):
    """An architecture whose evaluation was given up. A line of failed.jsonl."""

    error: str


class Finalist(Record):
    """A network of the finals."""

    architecture: Text
    is_incumbent: bool
    fitness: Number
    """By the supernet."""
    scores: list[list[Number]]
    """On the search split: of each rung that it has reached, those of its trainings."""


class FinalsResult(Record):
    """What the finals found. All scores are the one named `metric`, on the `images` of the search split."""

    winner: Text
    """The architecture that is handed over."""
    challenger: Text | None
    """The best candidate of the search."""
    incumbent: Text | None
    """The best of the networks that one would take without a search; None if none is within the budget."""
    metric: str
    images: Count
    lead: Estimate | None
    """By how much the challenger's score exceeds the incumbent's on the last rung, with its interval by a paired
    bootstrap over the images."""
    certainty: Number | None
    """The fraction of the bootstrap's draws in which the challenger is better."""
    wanted: Number
    """The certainty from which the challenger is handed over."""
    steps: list[Count]
    """Of a training on each rung."""
    finalists: list[Finalist]

    @property
    def is_won_by_incumbent(self) -> bool:
        return self.winner == self.incumbent

    @property
    def beaten_incumbent(self) -> str | None:
        """The incumbent, if there is one and it is not the winner."""
        return None if self.is_won_by_incumbent else self.incumbent


class RecalibratedCandidate(Record):
    """A candidate's fitness in the search, and with BN statistics of other images, of half as many, and of none."""

    number: Count
    architecture: Text
    fitness: Number
    other_images: Number
    half: Number
    none: Number


class RecalibrationCheck(Record):
    """The best candidates of a search evaluated with other BN statistics, its winner first."""

    metric: str
    batches: Count
    batch_size: Count
    seconds: Seconds
    candidates: Annotated[list[RecalibratedCandidate], Field(min_length=1)]


class PartCost(Record):
    """What a part of a detector costs."""

    macs: Count
    params: Count


class NetworkEvaluation(Record):
    """What a trained network costs, and its scores on the validation set."""

    network: str
    architecture: Text | None
    """None of a network outside the search space's family, such as a ResNet."""
    macs: Count
    """MACs and parameters are those that the recipe's budget bounds."""
    params: Count
    latency_ms: Number | None = None
    """By the run's table of latencies; not written without one."""
    parts: dict[Literal["backbone", "pyramid", "heads"], PartCost]
    """Of the whole detector, for an image of `input_size`."""
    input_size: tuple[Count, Count]
    """Height and width of an image of the budget's aspect ratio as the backbone receives it."""
    images: Count
    scores: dict[str, Number | None]
    """COCO's and VOC's numbers, from 0 to 1; None where the set holds no object to find."""
    per_class: dict[str, Number | None]
    """COCO's AP by class."""


class RankedNetwork(Record):
    """A network that `detnas rank` trained."""

    architecture: Text
    macs: Count
    params: Count
    fitness: Number
    """By the supernet."""
    score: Number
    """On the validation set, after standalone training."""


class RankingQuality(Record):
    """How well something ranks networks by their score."""

    kendall_tau: Estimate
    spearman_rho: Estimate
    regret: Number
    """By how much its best network is worse than the best of all."""
    regret_top_5: Number
    """By how much the best of its top 5 networks is worse than the best of all."""


class Ranking(Record):
    """What `detnas rank` found."""

    metric: str
    """The score after standalone training."""
    fitness: str
    """The score that is the supernet's fitness."""
    quality: dict[str, RankingQuality]
    """Of the supernet's fitness, and of MACs alone."""
    networks: list[RankedNetwork]


class SearchFacts(Record):
    """What makes a search by `detnas.search` this one and no other."""

    format: int
    seed: int
    space: dict[str, Any]
    budget: dict[str, Any]
    settings: dict[str, Any]


BY_RANK = "delete it and give the command `detnas rank` again"
SPLITS = RecordFile("splits.json", Splits)
PRETRAINED = RecordFile("pretrained.json", Pretrained, "restore it, or choose another folder")
TRAINING_DONE = RecordFile("done.json", TrainingDone)
METRICS = LogLines("metrics.jsonl", MetricsRow)
CANDIDATES = RecordLines("candidates.jsonl", Candidate)
FAILED = RecordLines("failed.jsonl", FailedCandidate)
BEST = RecordFile("best.json", Candidate)
FRONT = RecordFile("front.json", list[Candidate])
FINALS_RESULT = RecordFile("best.json", FinalsResult)
RECALIBRATION = RecordFile("recalibration.json", RecalibrationCheck)
SEARCH_DONE = RecordFile("done.json", SearchDone)
EVALUATION = RecordFile("evaluation.json", NetworkEvaluation)
DETECTIONS = RecordFile("detections.json", list[dict[str, Any]])
"""COCO results on the validation set."""
FITNESS = RecordFile("fitness.json", float, BY_RANK)
"""Beside evaluation.json, of a network of `detnas rank`: by the supernet."""
RANKING = RecordFile("ranking.json", Ranking, BY_RANK)
SEARCH_FACTS = RecordFile("search.json", SearchFacts, "restore it, or choose another folder")
