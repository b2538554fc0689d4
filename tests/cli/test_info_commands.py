"""The commands that print facts: profile, models, doctor."""

import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from shell import Shell
from small_recipe import write_recipe

import detnas
from detnas.config import load_recipe, recipe_names
from detnas.config.auto import fill_usual
from detnas.spaces import BudgetSampler
from detnas.spaces.published import NAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", recipe_names())
def test_profile_of_every_recipe(name: str, shell: Shell) -> None:
    said = shell("profile", name)
    recipe = fill_usual(load_recipe(name))
    sampler = BudgetSampler(recipe.search_space(), recipe.cost_budget())
    space = recipe.search_space()
    assert f"{len(space.blocks)} blocks of {len(space.ops)} ops" in said
    assert f"{sampler.share():.1%} within the budget" in said
    macs = []
    for kind in ("cheapest", "median", "most expensive"):
        found = re.search(rf"  {kind} +([0-4 ]+?)  ([\d.]+)M MACs, ([\d.]+)M params", said)
        assert found is not None, said
        cost = sampler.cost(detnas.Architecture.parse(found[1]))
        assert recipe.cost_budget().allows(cost)
        assert float(found[2]) == pytest.approx(cost.macs / 1e6, abs=0.06)
        assert float(found[3]) == pytest.approx(cost.params / 1e6, abs=0.006)
        macs.append(cost.macs)
    assert macs == sorted(macs)
    assert re.search(r"total +\d", said)


def test_profile_of_a_small_recipe(tmp_path: Path, shell: Shell) -> None:
    recipe = write_recipe(tmp_path / "recipe.yaml", "fpn", pretraining__source="none")
    said = shell("profile", recipe)
    assert "10 blocks of 4 ops: 1.05e+06 architectures, 100.0% within the budget" in said
    assert re.search(r"supernet-pretrain +0 s", said) and "detector fpn" in said
    changed = shell("profile", recipe, "--set", "budget.macs_max=5M")
    share = float(re.search(r"([\d.]+)% within", changed)[1])  # type: ignore[index]
    assert 0 < share < 100
    assert "budget.macs" in shell.refused("profile", recipe, "--set", "budget.macs_max=1k")
    automatic = shell("profile", recipe, "--set", "detector.anchor_sizes=auto")
    assert automatic.partition("estimated time")[0] == said.partition("estimated time")[0]
    assert list(tmp_path.iterdir()) == [recipe]


def test_models_lists_the_published_networks_with_their_costs(shell: Shell) -> None:
    head, *lines = shell("models").splitlines()
    assert head.split("  ")[0] == "name" and "MACs at 224" in head
    assert [line.split()[0] for line in lines] == list(NAMES)
    found = {line.split()[0]: re.split(r"  +", line) for line in lines}
    assert found["detnas-fpn-300m"][1:5] == ["small", "2120 2112 33130031 3132", "288.1M", "1.85M"]
    assert found["resnet50"][1:5] == ["-", "-", "4087.1M", "23.51M"]
    assert found["mmrazor-detnas"][5].endswith("only the choice of ops is theirs")
    assert all(len(cells) == 6 for cells in found.values())


def test_doctor(shell: Shell) -> None:
    said = shell("doctor")
    assert f"torch {torch.__version__}" in said and "detnas" in said and "GPU" in said and "GB free" in said


def test_doctor_says_how_several_gpus_are_used(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    facts = SimpleNamespace(name="a GPU", total_memory=8e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: facts)
    assert "torchrun --nproc-per-node=2 -m detnas run" in shell("doctor")


def test_doctor_says_that_the_machine_is_busy(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (0.9 * (os.cpu_count() or 1), 0, 0))
    assert "! other programs keep" in shell("doctor")
    monkeypatch.setattr("os.getloadavg", lambda: (0.2, 0, 0))
    assert "other programs" not in shell("doctor")
