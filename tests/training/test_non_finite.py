"""Steps that are not finite: they change nothing, their images are named, and ten in a row end the training."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_recipe import checkpoint, small_recipe
from small_training import CPU, Cut, Task, assert_same_training, cut_before, settings, timeless, train_linear
from torch import nn

from detnas.models.detectors.build import build_detector
from detnas.models.supernet import Supernet
from detnas.training.loop import one_pass, train_step
from detnas.training.state import TrainingState
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress

NAN, INF = float("nan"), float("inf")


class Said(Progress):
    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def log(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_a_step_that_is_not_finite_is_as_if_it_had_not_been(
    value: float, ema_decay: float | None, tmp_path: Path
) -> None:
    """The same as a training whose weights nobody touches in that step."""
    task, said = Task(lambda count: value if count == 15 else 1.0), Said()
    train_linear(tmp_path / "bad", task, progress=said, ema_decay=ema_decay, optimizer="adamw")

    class Frozen(Task):
        def losses(self, model: nn.Module, batch: object, device: torch.device) -> object:
            parts, figures = super().losses(model, batch, device)  # type: ignore[arg-type]
            if len(self.batches) == 15:
                parts = {name: loss.detach() + torch.zeros((), requires_grad=True) for name, loss in parts.items()}
            return parts, figures

    train_linear(tmp_path / "frozen", Frozen(), ema_decay=ema_decay, optimizer="adamw")
    bad, frozen = checkpoint(tmp_path / "bad"), checkpoint(tmp_path / "frozen")
    for name, tensor in frozen["model"].items():
        assert torch.equal(tensor, bad["model"][name])
    (line,) = [line for line in said.lines if "skipped" in line]
    named = re.findall(r"image\d", line)
    assert named == [f"image{index}" for index in task.batches[14]]
    assert "step 15" in line and "lr" in line and re.search("loss (nan|-?inf)", line) and "\n" not in line
    rows = timeless(tmp_path / "bad")
    assert [row["skipped_steps"] for row in rows] == [0, 1, 0, 0]
    assert all(value == value for row in rows for value in row.values())


def test_a_training_cut_around_skipped_steps_ends_in_the_same_bytes(tmp_path: Path) -> None:
    """Passes differ in their count after a cut, so that what is bad must hang on the step."""

    def task() -> Task:
        made = Task()
        # As many calls were made as there are batches, and each batch is a function of its step.
        made.loss = lambda count: NAN if made.batches[-1] in bad else 1.0
        return made

    plain = Task()
    train_linear(tmp_path / "plain", plain)
    bad = [plain.batches[step] for step in (8, 9, 10, 23)]
    train_linear(tmp_path / "whole", task(), ema_decay=0.9)
    assert [row["skipped_steps"] for row in timeless(tmp_path / "whole")][:3] != [0, 0, 0]
    for cut in (9, 10, 11, 24):
        with pytest.raises(Cut):
            train_linear(tmp_path / "cut", task(), cut_before(cut), ema_decay=0.9, checkpoint_every=3)
    train_linear(tmp_path / "cut", task(), ema_decay=0.9, checkpoint_every=3)
    assert_same_training(tmp_path / "whole", tmp_path / "cut")


def test_ten_in_a_row_end_the_training_and_nine_do_not(tmp_path: Path) -> None:
    nine = Said()
    train_linear(tmp_path / "nine", Task(lambda count: NAN if 16 <= count < 25 else 1.0), progress=nine)
    assert len(nine.lines) == 9 + 1  # and where it stands
    task = Task(lambda count: NAN if count >= 16 else 1.0)
    with pytest.raises(UserError) as caught:
        train_linear(tmp_path / "ten", task)
    message = str(caught.value)
    assert "\n" not in message and str(tmp_path) in message and "lower lr" in message and "step 25" in message
    assert all(f"image{index}" in message for index in task.batches[-1]) and len(task.batches) == 25
    kept = checkpoint(tmp_path / "ten")
    assert kept["step"] == 20 and kept["skipped"] == 5
    assert all(tensor.isfinite().all() for tensor in kept["model"].values())
    assert not (tmp_path / "ten" / "done.json").exists()
    # The same command again counts on from the checkpoint.
    again = Task(lambda count: NAN)
    with pytest.raises(UserError, match="10 steps in a row"):
        train_linear(tmp_path / "ten", again)
    assert len(again.batches) == 5


class Overflowing(Task):
    """Loss and gradient are finite, and the update is not: a weight of the largest number is moved further."""

    def losses(self, model: nn.Module, batch: object, device: torch.device) -> object:
        parts, figures = super().losses(model, batch, device)  # type: ignore[arg-type]
        if len(self.batches) == 20:
            with torch.no_grad():
                model.bias.fill_(-3e38)  # type: ignore[union-attr, operator]
            parts["a"] = parts["a"] + (model.bias - model.bias.detach()).sum() * 1e18  # type: ignore[union-attr, operator]
        return parts, figures


def test_weights_that_are_not_finite_are_never_saved(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"after step 20 bias.* is not finite; the last checkpoint is kept") as caught:
        train_linear(tmp_path, Overflowing(), lr=1e20, schedule="step", momentum=0.0, weight_decay=0)
    assert "\n" not in str(caught.value)
    assert checkpoint(tmp_path)["step"] == 10
    assert [row["step"] for row in timeless(tmp_path)] == [10]


@pytest.mark.parametrize("where", ["loss", "gradient"])
@pytest.mark.parametrize("passes", [1, 4])
def test_neither_weights_nor_statistics_nor_averages_are_touched(where: str, passes: int) -> None:
    recipe = small_recipe()
    torch.manual_seed(0)
    model = build_detector(Supernet(recipe.search_space()), 3, recipe.detector).train()
    state = TrainingState(model, settings(ema_decay=0.5))

    class Images:
        def __init__(self, spoil: Callable[[torch.Tensor], torch.Tensor]) -> None:
            self.spoil = spoil

        def losses(self, model: nn.Module, batch: object, device: torch.device) -> object:
            images = [torch.rand(3, 48, 48) for _ in range(2)]
            targets = [{"boxes": torch.tensor([[5.0, 5, 30, 30]]), "labels": torch.tensor([1])} for _ in images]
            parts = model(images, targets)
            return {name: self.spoil(loss) for name, loss in parts.items()}, {}

    def step(spoil: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, float]:
        task: object = Images(spoil)
        return train_step(state, task, None, CPU, [None] * passes)  # type: ignore[arg-type]

    step(lambda loss: loss)
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    averages = {name: tensor.clone() for name, tensor in state.ema.weights().items()}  # type: ignore[union-attr]
    updates = dict(state.ema.updates)  # type: ignore[union-attr]
    if where == "loss":
        figures = step(lambda loss: loss * NAN)
    else:  # the square root of zero: its slope is infinite
        figures = step(lambda loss: loss + (loss - loss.detach()).sqrt())
        assert figures["loss"] == figures["loss"] and abs(figures["loss"]) < INF
    assert any(name.endswith("running_mean") for name in kept)
    assert all(torch.equal(kept[name], tensor) for name, tensor in model.state_dict().items())
    assert all(torch.equal(averages[name], t) for name, t in state.ema.weights().items())  # type: ignore[union-attr]
    assert updates == state.ema.updates  # type: ignore[union-attr]
    step(lambda loss: loss)
    assert not all(torch.equal(kept[name], tensor) for name, tensor in model.state_dict().items())


def test_a_training_of_few_steps_fails_if_none_is_finite(tmp_path: Path) -> None:
    """As those of a dry run."""
    with pytest.raises(UserError, match="3 steps in a row are not finite"):
        train_linear(tmp_path, Task(lambda count: NAN), steps=3)


def test_of_a_large_batch_the_first_images_are_named(tmp_path: Path) -> None:
    said = Said()
    train_linear(tmp_path, Task(lambda count: NAN if count == 1 else 1.0), progress=said, batch_size=40, steps=2)
    (line,) = [line for line in said.lines if "skipped" in line]
    assert len(re.findall(r"image\d", line)) == 32 and line.endswith("and 8 more")
    assert one_pass(0) == (None,)
