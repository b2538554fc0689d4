"""Frozen parts of a backbone: a training leaves them as they are, and changes all others."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import ARCHITECTURES, SPACE
from small_recipe import assert_same, checkpoint, small_recipe
from small_training import CPU, Cut, Task, assert_same_training, cut_before, settings
from torch import Tensor, nn

from detnas.models.backbone import Backbone, Subnet, find_backbone
from detnas.models.classifier import Classifier
from detnas.models.resnet import ResNet
from detnas.spaces import SearchSpace
from detnas.training.freezing import freeze
from detnas.training.loop import one_pass, train
from detnas.utils.progress import Progress

MOBILE = SearchSpace(
    "toy-mobile", 8, (8, 12, 16), (1, 2, 1), ("mbconv3_k3", "mbconv3_k5", "skip"), (2, 1, 2), 4, "efficientnet-lite"
)
FROZEN = [
    {"frozen_norms": True},
    {"frozen_stages": 2},
    {"frozen_stages": 1, "frozen_norms": True},
    {"frozen_stages": 5},
]


class Images(Task):
    """Noise of two classes."""

    def losses(self, model: nn.Module, batch: list[Any], device: torch.device) -> tuple[Any, Any]:
        loss = nn.functional.cross_entropy(model(torch.randn(4, 3, 64, 64)), torch.arange(4) % 2)
        return {"class": loss}, {}


def train_classifier(
    backbone: Backbone, directory: Path, passes: Callable[[int], Iterable[None]] = one_pass, **changes: Any
) -> tuple[Classifier, dict[str, Tensor]]:
    """The trained classifier, and its weights before."""
    model = Classifier(backbone, num_classes=2, head_channels=8)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    given = {"steps": 6, "checkpoint_every": 2, "weight_decay": 0.1, "lr": 0.05, **changes}
    train(
        model, Images(), settings(**given), directory,
        seed=1, device=CPU, progress=Progress(quiet=True), passes=passes,
    )  # fmt: skip
    return model, before


def unchanged(before: dict[str, Tensor], model: Classifier) -> set[str]:
    """The tensors that are as they were. Without the head's bias, of which the BN behind it subtracts every change."""
    after = model.state_dict()
    return {name for name in before if torch.equal(before[name], after[name])} - {"head.0.bias"}


def frozen_names(model: Classifier, frozen: dict[str, Any]) -> set[str]:
    """The tensors of stem, stages and norms that are to stay, found by their names and shapes."""
    names = set()
    body = find_backbone(model)
    stages = [f"backbone.blocks.{index}." for index, block in enumerate(body.space.blocks)  # type: ignore[union-attr]
              if block.stage < frozen.get("frozen_stages", 0) - 1]  # fmt: skip
    parts = (["backbone.stem."] if frozen.get("frozen_stages") else []) + stages
    norms = [f"{name}." for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]
    for name in model.state_dict():
        is_norm = name.startswith("backbone.") and name.startswith(tuple(norms))
        if name.startswith(tuple(parts)) or (is_norm and frozen.get("frozen_norms")):
            names.add(name)
    return names


@pytest.mark.parametrize("frozen", FROZEN, ids=str)
@pytest.mark.parametrize("ema", [None, 0.5])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_frozen_parts_stay_and_all_others_change(
    optimizer: str, ema: float | None, frozen: dict[str, Any], tmp_path: Path
) -> None:
    backbone = Subnet(SPACE, ARCHITECTURES[1])
    model, before = train_classifier(backbone, tmp_path, optimizer=optimizer, ema_decay=ema, **frozen)
    same = unchanged(before, model)
    assert same == frozen_names(model, frozen) and same != set(before)
    # Neither momentum nor an average is kept of them.
    saved = checkpoint(tmp_path)
    trainable = [name for name, _ in model.named_parameters() if name not in same]
    assert len(saved["optimizer"]["state"]) == len(trainable)
    assert_same({name: saved["model"][name] for name in same}, {name: before[name] for name in same})
    if ema is not None:
        assert not same & saved["ema"]["updates"].keys()


def test_a_training_with_frozen_parts_that_is_cut_ends_in_the_same_bytes(tmp_path: Path) -> None:
    changes = {"frozen_stages": 2, "frozen_norms": True, "ema_decay": 0.9, "backbone_lr_factor": 0.1}

    def model() -> Subnet:
        torch.manual_seed(0)
        return Subnet(SPACE, ARCHITECTURES[1])

    whole, _ = train_classifier(model(), tmp_path / "whole", **changes)
    with pytest.raises(Cut):
        train_classifier(model(), tmp_path / "cut", cut_before(5), **changes)
    cut, _ = train_classifier(model(), tmp_path / "cut", **changes)
    assert_same_training(tmp_path / "whole", tmp_path / "cut")
    assert_same(dict(cut.state_dict()), dict(whole.state_dict()))


def test_a_resnet_is_frozen_by_its_stages() -> None:
    model = Classifier(ResNet("resnet50"), num_classes=2, head_channels=8).train()
    freeze(model, settings(frozen_stages=2))
    frozen = {name.split(".")[1] for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"}
    modes = {name.split(".")[1] for name, module in model.named_modules()
             if isinstance(module, nn.BatchNorm2d) and not module.training}  # fmt: skip
    assert modes == {"bn1", "layer1"}
    freeze(model, settings(frozen_norms=True))
    norms = [module for module in find_backbone(model).modules() if isinstance(module, nn.BatchNorm2d)]
    assert not any(norm.training or norm.weight.requires_grad for norm in norms)
    assert model.head[1].training and model.head[1].weight.requires_grad  # type: ignore[union-attr]


def test_more_stages_than_there_are_cannot_be_frozen() -> None:
    assert small_recipe(finetune__frozen_stages=5, baselines=["resnet50"]).finetune.frozen_stages == 5
    with pytest.raises(
        ValueError, match=r"finetune\.frozen_stages 6: space tiny-x0\.25 has a stem and 4 stages; choose"
    ):
        small_recipe(finetune__frozen_stages=6)


@pytest.mark.parametrize("frozen", [{"frozen_norms": True}, {"frozen_stages": 1}], ids=str)
@pytest.mark.parametrize("stage", ["supernet_pretrain", "supernet_finetune"])
def test_a_supernet_cannot_be_frozen(stage: str, frozen: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"(?s){stage}.*a supernet has no frozen_norms and no frozen_stages"):
        small_recipe(**{f"{stage}__{name}": value for name, value in frozen.items()})
