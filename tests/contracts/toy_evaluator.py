"""An evaluator that somebody adds: one module, and one line in the table."""

from typing import Self

from torch import nn

from detnas.models.supernet import extract_subnet
from detnas.search.evaluators.base import EvaluatedRun, RunEvaluator, Scores
from detnas.spaces import Architecture


class WeightEvaluator(RunEvaluator):
    """Scores a candidate by how large its weights are, without an image."""

    def __init__(self, supernet: nn.Module) -> None:
        self.supernet = supernet

    @classmethod
    def from_run(cls, run: EvaluatedRun) -> Self:
        return cls(run.supernet_detector())

    def __call__(self, architecture: Architecture) -> Scores:
        weights = list(extract_subnet(self.supernet, architecture).parameters())
        return {"weight": sum(float(weight.detach().abs().mean()) for weight in weights), "unknown": None}
