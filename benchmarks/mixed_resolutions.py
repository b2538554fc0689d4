"""Whether a supernet step at mixed resolutions costs what the steps of its plain networks cost.

The supernet of `own-data-quick` chooses resolution, ops and head. A dozen of its paths, as many at each resolution, are
trained by it and as plain detectors in turn, on the same images. The ratio is that of the sums of the medians.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.command import Tiny, save
from detnas.config import TrainingSettings, load_recipe
from detnas.models.backbone import Subnet
from detnas.models.detectors.build import build_detector, set_resolution
from detnas.models.supernet import Supernet, activate_path
from detnas.spaces import Architecture, SearchSpace
from detnas.training.loop import one_pass, train_step
from detnas.training.state import TrainingState

CHANGES = (
    "device=cpu",
    "detector.anchor_sizes=[32,64,128]",
    "space.resolutions=[192,256,320]",
    "space.head_ops=[full,separable,skip]",
    *("budget.of=detector", "budget.macs_min=null", "budget.macs_max=null"),
)
CLASSES, IMAGE = 3, (480, 640)
PATHS, ROUNDS, WARM_UP = 4, 15, 2
"""Paths of each resolution; steps of each."""


class Fixed:
    """A task with one batch of images before they are resized."""

    def __init__(self, batch_size: int) -> None:
        self.images = list(torch.rand(batch_size, 3, *IMAGE))
        box = torch.tensor([[100.0, 90.0, 380.0, 340.0]])
        self.targets = [{"boxes": box, "labels": torch.tensor([label % CLASSES])} for label in range(batch_size)]

    def losses(self, model: nn.Module, batch: Any, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return model(self.images, self.targets), {}


Step = Callable[[], object]


def measure(paths: int, rounds: int) -> dict[str, Any]:
    recipe = load_recipe("own-data-quick", CHANGES)
    space, settings = recipe.search_space(), recipe.supernet_finetune
    task = Fixed(settings.batch_size)
    supernet = build_detector(Supernet(space), CLASSES, recipe.detector, space.head).train()
    step = _stepper(supernet, task, settings)

    def of_supernet(path: Architecture) -> None:
        activate_path(supernet, path)
        set_resolution(supernet, recipe.detector.at(path.resolution))
        step()

    drawn = _draw(space, paths)
    pairs: list[tuple[Step, Step]] = []
    for path in drawn:
        plain = build_detector(Subnet(space, path), CLASSES, recipe.detector_of(path)).train()
        pairs.append((partial(of_supernet, path), _stepper(plain, task, settings)))
    seconds = np.empty((rounds, len(pairs), 2))
    for turn in range(-WARM_UP, rounds):
        for place, pair in enumerate(pairs):
            for which in (0, 1) if turn % 2 else (1, 0):  # neither is always the first
                began = time.perf_counter()
                pair[which]()
                if turn >= 0:
                    seconds[turn, place, which] = time.perf_counter() - began
    medians = np.median(seconds, axis=0)
    of_side = {
        side: [place for place, path in enumerate(drawn) if path.resolution == side] for side in space.resolutions
    }
    return {
        "paths": len(drawn),
        "seconds of a step": dict(zip(("supernet", "plain"), medians.mean(axis=0).round(4).tolist(), strict=True)),
        "supernet / plain": _ratio(medians),
        "by resolution": {str(side): _ratio(medians[places]) for side, places in of_side.items()},
    }


def _draw(space: SearchSpace, paths: int) -> list[Architecture]:
    """As many paths of each resolution."""
    rng = np.random.default_rng(0)
    return [
        one
        for side in space.resolutions
        for one in (replace(space, resolutions=(side,)).draw(rng) for _ in range(paths))
    ]


def _ratio(medians: NDArray[np.float64]) -> float:
    return round(float(medians[:, 0].sum() / medians[:, 1].sum()), 3)


def _stepper(model: nn.Module, task: Any, settings: TrainingSettings) -> Step:
    state = TrainingState(model, settings)
    for group in state.optimizer.param_groups:
        group["lr"] = 1e-6  # the same work at every step
    return lambda: train_step(state, task, None, torch.device("cpu"), one_pass(0))


def main(tiny: Tiny = False) -> None:
    """Measure, in five minutes on two idle cores; write benchmarks/results/mixed_resolutions.json."""
    found = measure(1, 1) if tiny else measure(PATHS, ROUNDS)
    print(found)
    save("mixed_resolutions", found, tiny)


if __name__ == "__main__":
    typer.run(main)
