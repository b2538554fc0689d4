"""The training loop: a training that was cut ends in the same bytes as one that ran through."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_recipe import assert_same, checkpoint, small_recipe, write_blocks
from small_training import CPU, Cut, Task, assert_same_training, cut_before, settings, timeless, train_linear
from torch import nn

import detnas.training.loop as loop
from detnas.config import Recipe
from detnas.models.classifier import Classifier
from detnas.models.detectors.build import build_detector
from detnas.models.supernet import Supernet
from detnas.run.pipeline import run
from detnas.training.checkpoints import load_weights
from detnas.training.loop import one_pass, train, train_step
from detnas.training.state import TrainingState
from detnas.utils.errors import UserError
from detnas.utils.progress import Progress


class Stopwatch:
    """Cuts every training at the step (from 1, over all trainings) that is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps = 0
        self.cut_at: int | None = None
        step = loop.train_step

        def counted(*args: Any) -> dict[str, float]:
            self.steps += 1
            if self.steps == self.cut_at:
                raise Cut
            return step(*args)

        monkeypatch.setattr(loop, "train_step", counted)


@pytest.fixture
def stopwatch(monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    return Stopwatch(monkeypatch)


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blocks(tmp_path_factory.mktemp("data") / "blocks", train=12, val=2)


def whole_and_cut(
    recipe: Recipe, blocks: Path, tmp_path: Path, stopwatch: Stopwatch, stage: str, cuts: list[int]
) -> tuple[Path, Path]:
    """The stage's directories of a training that ran through, and of one that was cut at these steps."""
    run(recipe, tmp_path / "whole", blocks, stages=(stage,))
    for cut in cuts:
        stopwatch.steps, stopwatch.cut_at = 0, cut
        torch.manual_seed(cut)  # whatever the global generator holds must not matter
        with pytest.raises(Cut):
            run(recipe, tmp_path / "cut", blocks, stages=(stage,))
    stopwatch.cut_at = None
    torch.manual_seed(99)
    run(recipe, tmp_path / "cut", blocks, stages=(stage,))
    return tmp_path / "whole" / stage, tmp_path / "cut" / stage


def test_a_cut_classification_of_the_supernet_ends_in_the_same_bytes(
    blocks: Path, tmp_path: Path, stopwatch: Stopwatch
) -> None:
    recipe = small_recipe(supernet_pretrain__color_jitter=0.4)  # a checkpoint stands after step 10
    whole, cut = whole_and_cut(recipe, blocks, tmp_path, stopwatch, "supernet-pretrain", [3, 13])
    assert_same_training(whole, cut)
    assert [row["step"] for row in timeless(cut)] == [10, 20]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("detector", ["retinanet", "fpn"])
def test_a_cut_detection_of_the_supernet_ends_in_the_same_bytes(
    detector: str, optimizer: str, blocks: Path, tmp_path: Path, stopwatch: Stopwatch
) -> None:
    recipe = small_recipe(
        detector,
        pretraining__source="none",
        supernet_finetune__optimizer=optimizer,
        supernet_finetune__color_jitter=0.2,
        supernet_finetune__bias_lr_factor=2.0,
    )
    whole, cut = whole_and_cut(recipe, blocks, tmp_path, stopwatch, "supernet-finetune", [14])
    assert_same_training(whole, cut)


def test_a_finished_training_only_loads_its_weights(blocks: Path, tmp_path: Path) -> None:
    recipe = small_recipe()
    stage = ("supernet-pretrain",)
    run(recipe, tmp_path / "run", blocks, stages=stage)
    directory = tmp_path / "run" / "supernet-pretrain"
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in directory.iterdir()}
    backbone = Supernet(recipe.search_space())
    load_weights(backbone, directory, part="backbone")
    expected = {k.removeprefix("backbone."): v for k, v in checkpoint(directory)["model"].items() if "backbone." in k}
    assert_same(dict(backbone.state_dict()), expected)
    model = Classifier(Supernet(recipe.search_space()), 4, 16)  # 3 colors and background
    task = Task()
    train(model, task, recipe.supernet_pretrain, directory, seed=0, device=CPU, progress=Progress(quiet=True))
    assert_same(dict(model.state_dict()), checkpoint(directory)["model"])
    assert task.batches == []
    assert before == {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in directory.iterdir()}


def test_rows_after_a_resume_have_neither_gaps_nor_repetitions(tmp_path: Path) -> None:
    train_linear(tmp_path / "whole", Task())
    for cut in (4, 17, 12, 20, 40, 44):
        with pytest.raises(Cut):
            train_linear(tmp_path / "cut", Task(), cut_before(cut))
    # A log that ran ahead of its checkpoint, as when the process is killed between the two.
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 50, "loss": 1.0, "seconds": 1.0}\n{"step": 60, "lo')
    train_linear(tmp_path / "cut", Task())
    assert [row["step"] for row in timeless(tmp_path / "cut")] == [10, 20, 30, 40]
    assert_same_training(tmp_path / "whole", tmp_path / "cut")


def test_rows_hold_means_since_the_row_before(tmp_path: Path) -> None:
    task = Task()
    noises: list[float] = []
    losses = task.losses

    def spied(*args: Any) -> Any:
        parts, figures = losses(*args)
        noises.append(figures["noise"].item())
        return parts, figures

    task.losses = spied  # type: ignore[method-assign]
    train_linear(tmp_path, task)
    assert len(noises) == 45 and len(set(noises)) == 45  # every step draws again
    rows = timeless(tmp_path)
    for place, row in enumerate(rows):
        assert row["noise"] == pytest.approx(sum(noises[10 * place : 10 * place + 10]) / 10)
        assert row["loss"] == pytest.approx(row["loss_a"] + row["loss_b"])
        assert row["lr"] == pytest.approx(0.01 * (1 - (row["step"] - 1) / 45))


def test_what_is_drawn_in_a_step_depends_on_the_step_alone(tmp_path: Path) -> None:
    whole, first, second = Task(), Task(), Task()
    train_linear(tmp_path / "whole", whole)
    with pytest.raises(Cut):
        train_linear(tmp_path / "cut", first, cut_before(25))
    train_linear(tmp_path / "cut", second)
    assert first.batches == whole.batches[:25] and second.batches == whole.batches[20:]


@pytest.mark.parametrize("detector", ["retinanet", "fpn"])
def test_a_detector_that_diverges_is_refused_in_one_line(detector: str, blocks: Path, tmp_path: Path) -> None:
    changes = {"supernet_finetune__lr": 1e20, "supernet_finetune__clip_norm": None}
    recipe = small_recipe(detector, pretraining__source="none", **changes)
    with pytest.raises(UserError, match="lower lr") as caught:
        run(recipe, tmp_path / "run", blocks, stages=("supernet-finetune",))
    assert "\n" not in str(caught.value)


def one_step(state: TrainingState) -> dict[str, float]:
    class Two:
        def losses(self, model: nn.Module, batch: Any, device: torch.device) -> Any:
            torch.manual_seed(1)
            images = [torch.rand(3, 48, 48) for _ in range(2)]
            targets = [{"boxes": torch.tensor([[5.0, 5, 30, 30]]), "labels": torch.tensor([1])} for _ in images]
            return model(images, targets), {}

    figures: dict[str, float] = train_step(state, Two(), None, CPU, one_pass(0))  # type: ignore[arg-type]
    return figures


def detector_of(recipe: Recipe) -> nn.Module:
    torch.manual_seed(0)
    return build_detector(Supernet(recipe.search_space()), 3, recipe.detector).train()


@pytest.mark.parametrize("detector", ["retinanet", "fpn"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_op_that_did_not_run_is_not_touched(detector: str, optimizer: str) -> None:
    recipe = small_recipe(detector)
    told = settings(optimizer=optimizer, weight_decay=0.1)
    model = detector_of(recipe)
    (supernet,) = (module for module in model.modules() if isinstance(module, Supernet))
    state = TrainingState(model, told)
    chosen = state.optimizer
    supernet.activate(recipe.search_space().uniform("shuffle5"))
    one_step(state)  # the op has momentum from here on
    supernet.activate(recipe.search_space().uniform("xception"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    memory = {name: [v.clone() for v in chosen.state[p].values() if torch.is_tensor(v)]
              for name, p in model.named_parameters() if ".ops.1." in name}  # fmt: skip
    assert all(memory.values())
    one_step(state)
    after = model.state_dict()
    for name in before:
        if any(f".ops.{op}." in name for op in (0, 1, 2)):
            assert torch.equal(before[name], after[name]), name
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(before[name], parameter)}
    assert {name for name, _ in model.named_parameters() if ".ops.3." in name} <= changed
    for name, parameter in model.named_parameters():
        state = [value for value in chosen.state.get(parameter, {}).values() if torch.is_tensor(value)]
        if ".ops.1." in name:
            assert_same(state, memory[name])
        elif ".ops.0." in name or ".ops.2." in name:
            assert state == [], name


@pytest.mark.parametrize("clip_norm", [None, 0.01])
def test_gradients_are_scaled_down_to_the_norm(clip_norm: float | None) -> None:
    recipe = small_recipe()
    told = settings(momentum=0.0, weight_decay=0.0, lr=1.0, clip_norm=clip_norm)
    model = detector_of(recipe)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    one_step(TrainingState(model, told))
    moved = torch.stack([(a - b).norm() for a, b in zip(before, model.parameters(), strict=True)]).norm().item()
    if clip_norm is None:
        assert moved > 0.1
    else:
        assert moved == pytest.approx(clip_norm, rel=1e-3)


@pytest.mark.learns
@pytest.mark.parametrize(
    ("detector", "parts"),
    [
        ("retinanet", ("loss_classification", "loss_bbox_regression")),
        ("fpn", ("loss_loss_objectness", "loss_loss_rpn_box_reg")),
    ],
)
def test_bf16_computes_in_bf16_and_keeps_the_weights_in_fp32(detector: str, parts: tuple[str, str]) -> None:
    recipe = small_recipe(detector)
    model = detector_of(recipe)
    types = set()
    (supernet,) = (module for module in model.modules() if isinstance(module, Supernet))
    handle = supernet.stem[0].register_forward_hook(lambda module, inputs, output: types.add(output.dtype))
    exact = settings()
    figures = one_step(TrainingState(detector_of(recipe), exact))
    told = settings(precision="bf16")
    rough = one_step(TrainingState(model, told))
    handle.remove()
    assert types == {torch.bfloat16}
    assert all(tensor.dtype != torch.bfloat16 for tensor in model.state_dict().values())
    assert rough["loss"] != figures["loss"]
    # FPN's box losses are left out: rounding decides between proposals that are nearly equal.
    for part in parts:
        assert rough[part] == pytest.approx(figures[part], rel=0.05), part


def test_a_cut_training_with_workers_and_bf16_ends_in_the_bytes_of_one_without_workers(
    blocks: Path, tmp_path: Path, stopwatch: Stopwatch
) -> None:
    stage = "supernet-pretrain"
    alone = small_recipe(supernet_pretrain__precision="bf16")
    run(alone, tmp_path / "alone", blocks, stages=(stage,))
    recipe = small_recipe(supernet_pretrain__precision="bf16", supernet_pretrain__workers=1)
    stopwatch.steps, stopwatch.cut_at = 0, 12
    with pytest.raises(Cut):
        run(recipe, tmp_path / "cut", blocks, stages=(stage,))
    run(recipe, tmp_path / "cut", blocks, stages=(stage,))
    assert_same_training(tmp_path / "alone" / stage, tmp_path / "cut" / stage)
