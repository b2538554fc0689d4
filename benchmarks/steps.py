"""What a training step of a supernet costs, and one of a plain network with other settings, beside the plain step.

All variants compute the same architecture on the same batch, and their whole steps (forward, backward, clipping,
optimizer) take turns, so that other work on the machine slows all of them alike. Each ratio is the median of the steps'
ratios to the plain step, with the quartiles.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median, quantiles
from typing import Any

import torch
import typer
from torch import Tensor, nn

from benchmarks.command import Tiny, save
from detnas.config import Recipe, TrainingSettings, load_recipe
from detnas.models.backbone import Backbone, Subnet, find_backbone
from detnas.models.classifier import Classifier
from detnas.models.detectors.build import build_detector, first_label
from detnas.models.supernet import Supernet
from detnas.training.loop import one_pass, train_step
from detnas.training.state import TrainingState

CLASSES = 12
WARM_UP = 5
PLAIN = "plain"


@dataclass(frozen=True)
class Case:
    """A training of a recipe, with batch sizes that a CPU and a GPU can take."""

    recipe: str
    training: str
    batch_size: int
    gpu_batch_size: int
    rounds: int = 41
    """More for short steps, whose ratios scatter more."""
    compiled: bool = False
    """Whether torch.compile is tried too: it takes minutes."""


CASES = (
    Case("shapes-quick", "supernet_pretrain", batch_size=32, gpu_batch_size=512, rounds=161, compiled=True),
    Case("shapes-quick", "supernet_finetune", batch_size=16, gpu_batch_size=128, rounds=81),
    Case("paper-coco-fpn-small", "supernet_pretrain", batch_size=4, gpu_batch_size=128),
    Case("paper-coco-fpn-large", "supernet_pretrain", batch_size=2, gpu_batch_size=128),
)


class Fixed:
    """A task whose only batch is on the device already, so that nothing but the step is measured."""

    def __init__(self, recipe: Recipe, training: str, batch_size: int, device: torch.device) -> None:
        self.detects = training == "supernet_finetune"
        side = recipe.detector.min_size if self.detects else recipe.pretraining.image_size
        self.images = torch.rand(batch_size, 3, side, side, device=device)
        self.labels = torch.arange(batch_size, device=device) % CLASSES
        box = torch.tensor([[side * 0.2, side * 0.2, side * 0.6, side * 0.7]], device=device)
        self.targets = [{"boxes": box, "labels": label[None]} for label in self.labels]

    def losses(self, model: nn.Module, batch: Any, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        if not self.detects:
            return {"classification": nn.functional.cross_entropy(model(self.images), self.labels)}, {}
        first = first_label(model)
        targets = [{"boxes": one["boxes"], "labels": one["labels"] + first} for one in self.targets]
        return model(list(self.images), targets), {}


def measure(case: Case, device: torch.device) -> dict[str, Any]:
    recipe = load_recipe(case.recipe)
    settings: TrainingSettings = getattr(recipe, case.training)
    batch = case.gpu_batch_size if device.type == "cuda" else case.batch_size
    task = Fixed(recipe, case.training, batch, device)
    steps = {
        name: stepper(model, task, settings.model_copy(update=changes), device)
        for name, (model, changes) in variants(case, recipe, task.detects, device).items()
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(WARM_UP + case.rounds):
        for name in steps if turn % 2 else reversed(steps):  # no variant is always the first
            began = time.perf_counter()
            steps[name]()
            if device.type == "cuda":
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - began)
    plain = times.pop(PLAIN)[WARM_UP:]
    result: dict[str, Any] = {"batch_size": batch, "milliseconds of the plain step": round(1000 * median(plain), 2)}
    for name, values in times.items():
        each = [one / other for one, other in zip(values[WARM_UP:], plain, strict=True)]
        first, middle, third = quantiles(each, n=4)
        result[f"{name} / plain"] = {"median": round(middle, 3), "quartiles": [round(first, 3), round(third, 3)]}
    return result


def variants(case: Case, recipe: Recipe, detects: bool, device: torch.device) -> dict[str, tuple[nn.Module, Any]]:
    """The models that take turns, and what each changes in the training's settings."""
    space = recipe.search_space()
    architecture = space.architecture([block % 4 for block in range(len(space.blocks))])
    torch.manual_seed(0)

    def model(backbone: Backbone) -> nn.Module:
        head = recipe.pretraining.head_channels
        made = build_detector(backbone, CLASSES, recipe.detector) if detects else Classifier(backbone, CLASSES, head)
        return made.train().to(device)

    supernet = Supernet(space)
    supernet.activate(architecture)
    found: dict[str, tuple[nn.Module, Any]] = {
        PLAIN: (model(Subnet(space, architecture)), {}),
        "supernet": (model(supernet), {}),
        "bf16": (model(Subnet(space, architecture)), {"precision": "bf16"}),
        "channels first": (channels_first(model(Subnet(space, architecture))), {}),
    }
    if case.compiled or device.type == "cuda":
        compiled = model(Subnet(space, architecture))
        find_backbone(compiled).compile()
        found["torch.compile"] = (compiled, {})
    return found


def channels_first(model: nn.Module) -> nn.Module:
    """The model in PyTorch's default layout; backbones convert to channels_last in their stem."""
    model.to(memory_format=torch.contiguous_format)
    stem = find_backbone(model).stem
    stem.register_forward_hook(lambda stem, images, features: features.contiguous())  # type: ignore[union-attr]
    return model


def stepper(model: nn.Module, task: Any, settings: TrainingSettings, device: torch.device) -> Callable[[], object]:
    state = TrainingState(model, settings)
    for group in state.optimizer.param_groups:
        group["lr"] = 1e-6  # the same work at every step
    return lambda: train_step(state, task, None, device, one_pass(0))


def measure_all(device: torch.device, tiny: bool = False) -> dict[str, Any]:
    """The results of all cases, by recipe and training."""
    results = {}
    for case in (replace(one, rounds=2, compiled=False) for one in CASES[:2]) if tiny else CASES:
        name = f"{case.recipe} {case.training}"
        results[name] = measure(case, device)
        print(name, results[name], flush=True)
    return results


def main(tiny: Tiny = False) -> None:
    """Measure training steps on a CPU, in six minutes on two cores; write benchmarks/results/steps.json."""
    save("steps", {"steps": measure_all(torch.device("cpu"), tiny)}, tiny)


if __name__ == "__main__":
    typer.run(main)
