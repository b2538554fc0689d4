"""The smallest training: a linear layer that learns nothing much from numbers."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from small_recipe import assert_same, checkpoint
from torch import nn

from detnas.config import TrainingSettings
from detnas.data.samples import Key
from detnas.training.loop import one_pass, train
from detnas.utils.progress import Progress

CPU = torch.device("cpu")


class Cut(Exception):
    """Where a test kills a training."""


class Numbers:
    """Samples that are their own keys."""

    def __getitem__(self, key: Key) -> Key:
        return key

    def __len__(self) -> int:
        return 6

    def name(self, key: Key) -> str:
        return f"image{key[0]}"


class Task:
    """Remembers what it was asked for. `loss` of the count of passes (from 1) scales the loss of each."""

    def __init__(self, loss: Callable[[int], float] = lambda count: 1.0) -> None:
        self.samples = Numbers()
        self.loss = loss
        self.batches: list[list[int]] = []

    def collate(self, samples: list[Key]) -> list[Key]:
        return samples

    def losses(self, model: nn.Module, batch: list[Key], device: torch.device) -> tuple[Any, Any]:
        self.batches.append([index for index, _ in batch])
        noise = torch.rand(())  # stands for dropout
        value = self.loss(len(self.batches))
        return {"a": model(torch.ones(1, 2)).sum() * noise * value, "b": noise * value}, {"noise": noise}


def settings(**changes: Any) -> TrainingSettings:
    return TrainingSettings(**{"steps": 45, "batch_size": 4, "lr": 0.01, "checkpoint_every": 10, **changes})


def train_linear(
    directory: Path,
    task: Any,
    passes: Callable[[int], Iterable[None]] = one_pass,
    progress: Progress | None = None,
    **changes: Any,
) -> nn.Module:
    """The trained model; `changes` are settings."""
    torch.manual_seed(0)
    model = nn.Linear(2, 2)
    progress = progress or Progress(quiet=True)
    train(model, task, settings(**changes), directory, seed=1, device=CPU, progress=progress, passes=passes)
    return model


def cut_before(step_to_cut: int) -> Callable[[int], Iterable[None]]:
    def choose(step: int) -> Iterable[None]:
        if step == step_to_cut:
            raise Cut
        return one_pass(step)

    return choose


def timeless(directory: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second", "memory_mb")} for row in rows]


def assert_same_training(whole: Path, cut: Path) -> None:
    assert_same(checkpoint(cut), checkpoint(whole))
    assert timeless(cut) == timeless(whole)
    assert json.loads((cut / "done.json").read_text())["steps"] == checkpoint(whole)["step"]
