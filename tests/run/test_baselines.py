"""Baselines: which networks they are, and a run that trains some and shows them."""

import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from small_recipe import checkpoint, small_recipe, training

from detnas.config import Recipe, load_recipe
from detnas.config.recipe import RANDOM
from detnas.models.backbone import Subnet
from detnas.models.resnet import ResNet
from detnas.profiling import profile, throughput
from detnas.run import pipeline, status
from detnas.run.baselines import baseline_builders
from detnas.spaces import Architecture, Budget, BudgetSampler
from detnas.spaces.published import PUBLISHED
from detnas.utils.progress import format_duration
from detnas.utils.seeds import derive_seed


def architectures(recipe: Recipe, budget: Budget | None = None) -> dict[str, Architecture | None]:
    sampler = BudgetSampler(recipe.search_space(), budget or recipe.cost_budget())
    builders = baseline_builders(recipe, sampler, partial(Subnet, sampler.space))
    with torch.device("meta"):
        return {name: make().architecture for name, make in builders.items()}


def test_shuffle3_and_random_are_in_the_recipes_space() -> None:
    recipe = small_recipe(budget__macs_max=5e6, baselines=["shuffle3", "random"])
    found = architectures(recipe)
    assert list(found) == ["shuffle3", "random"] and str(found["shuffle3"]) == "00 00 0000 00"
    # The draw that runs before there were others have made.
    sampler = BudgetSampler(recipe.search_space(), recipe.cost_budget())
    assert found["random"] == sampler.sample(np.random.default_rng(derive_seed(recipe.seed, "random baseline")))


def test_random_draws_are_within_the_budget_and_differ() -> None:
    recipe = small_recipe(budget__macs_max=5e6, baselines=list(RANDOM))
    found = architectures(recipe)
    assert list(found) == ["random", *(f"random{number}" for number in range(2, 10))]
    assert len(set(found.values())) == 9
    sampler = BudgetSampler(recipe.search_space(), recipe.cost_budget())
    assert all(sampler.allows(architecture) for architecture in found.values() if architecture is not None)
    other_seed = architectures(small_recipe(budget__macs_max=5e6, baselines=list(RANDOM), seed=4))
    assert not set(other_seed.values()) & set(found.values())


def test_a_random_draw_does_not_depend_on_which_others_are_named() -> None:
    every = architectures(small_recipe(baselines=list(RANDOM)))
    some = architectures(small_recipe(baselines=["random5", "shuffle3", "random3"]))
    assert (some["random5"], some["random3"]) == (every["random5"], every["random3"])


def test_a_budget_of_few_architectures_is_used_up_before_one_comes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detnas.spaces.budget.DRAWS", 200)
    recipe = small_recipe(baselines=list(RANDOM))
    space = recipe.search_space()
    table = space.cost_table()
    # As much as the three cheapest architectures cost: the cheapest, and one with one op changed.
    cheapest = [int(np.argmin(row)) for row in table.of("params")]
    budget = Budget(
        params=(0, min(table.cost(space.architecture(change)).params for change in one_op_changed(cheapest)))
    )
    sampler = BudgetSampler(space, budget)
    held = round(sampler.share() * space.size)
    assert 1 < held < 9
    found = architectures(recipe, budget)
    assert len(set(found.values())) == held and len(set(list(found.values())[:held])) == held


def one_op_changed(ops: list[int]) -> list[list[int]]:
    return [[*ops[:at], op, *ops[at + 1 :]] for at in range(len(ops)) for op in range(4) if op != ops[at]]


def test_published_baselines_are_in_their_own_space() -> None:
    recipe = small_recipe(baselines=["detnas-fpn-1.3g", "resnet101"])
    sampler = BudgetSampler(recipe.search_space(), recipe.cost_budget())
    made = baseline_builders(recipe, sampler, partial(Subnet, sampler.space))
    with torch.device("meta"):
        network, resnet = made["detnas-fpn-1.3g"](), made["resnet101"]()
    assert isinstance(network, Subnet) and network.space == PUBLISHED["detnas-fpn-1.3g"].space
    assert isinstance(resnet, ResNet) and resnet.name == "resnet101"


# In a run

NAMES = ["random", "random2", "resnet50"]


@pytest.fixture(scope="module")
def run(blocks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    alone = training(steps=4, optimizer="sgd", momentum=0)  # without momenta a ResNet's checkpoint is a third
    recipe = small_recipe(
        baselines=NAMES,
        budget={"of": "backbone", "macs_max": 1.2e6, "size": 97},
        search__evaluations=2,
        supernet_pretrain__steps=10,
        supernet_finetune__steps=10,
        pretrain=alone | {"batch_size": 4},
        finetune=alone,
    )
    return pipeline.run(recipe, tmp_path_factory.mktemp("baselines") / "run", blocks)


def evaluation(run: Path, name: str) -> dict:
    return json.loads((run / "finetune" / name / "evaluation.json").read_text())


def test_every_baseline_is_trained_and_evaluated(run: Path) -> None:
    assert sorted(path.name for path in (run / "finetune").iterdir()) == sorted(["winner", *NAMES])
    found = {name: evaluation(run, name) for name in NAMES}
    space = load_recipe(run / "recipe.yaml").search_space()
    for name in ("random", "random2"):
        cost = space.cost(Architecture.parse(found[name]["architecture"]), 97)
        assert (found[name]["macs"], found[name]["params"]) == (cost.macs, cost.params) and cost.macs <= 1.2e6
    assert found["random"]["architecture"] != found["random2"]["architecture"]
    cost = ResNet("resnet50").cost(97)
    assert found["resnet50"]["architecture"] is None
    assert (found["resnet50"]["macs"], found["resnet50"]["params"]) == (cost.macs, cost.params)
    assert all(row["images"] == 8 and 0 <= row["scores"]["mAP"] <= 1 for row in found.values())
    # The detector's ResNet begins with what it learned before.
    stems = [
        checkpoint(run / stage / "resnet50")["model"][f"{part}.conv1.weight"]
        for stage, part in (("pretrain", "backbone"), ("finetune", "backbone.body"))
    ]
    assert 0 < (stems[0] - stems[1]).abs().max() < 0.05


def test_the_page_shows_a_network_without_an_architecture(run: Path) -> None:
    page = (run / "report.html").read_text()
    rows = {row.split("<")[0].split(">")[-1]: row for row in page.split('<tr><th scope="row">')[1:]}
    assert "None" not in rows["resnet50"] and "torchvision" in rows["resnet50"] and ">23.5 M<" in rows["resnet50"]
    assert re.search(r'class="arch">-</td>', rows["resnet50"])
    assert evaluation(run, "random2")["architecture"] in rows["random2"] and "at random" in rows["random2"]
    assert "Beyond the budget, resnet50 scores" in page and re.search("MACs at 97.97 and", page)


def test_status_shows_every_baseline(run: Path) -> None:
    lines = list(status.format_status(run))
    for name in NAMES:
        found = evaluation(run, name)
        figures = f"{found['macs'] / 1e6:.1f}M MACs, {found['params'] / 1e6:.2f}M params"
        after = lines[next(at for at, line in enumerate(lines) if line.startswith(f"finetune/{name}: done")) + 1]
        whole = sum(part["macs"] for part in found["parts"].values())
        shares = ", ".join(f"{part} {cost['macs'] / whole:.0%}" for part, cost in found["parts"].items())
        assert after == (
            f"  {found['architecture'] or name}: {figures} (the backbone; the whole detector has "
            f"{whole / 1e6:.1f}M MACs: {shares})"
        )


def test_profile_shows_every_baseline_and_counts_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "_measure", lambda recipe, network, device: throughput.ImageSeconds(1, 0.5, 10, 5))
    recipe = small_recipe(baselines=NAMES, budget={"of": "backbone", "size": 97})
    said = list(profile.describe(recipe))
    cost = ResNet("resnet50").cost(97)
    assert f"  resnet50: -  {cost.in_millions()}" in said
    random2 = architectures(recipe)["random2"]
    assert random2 is not None
    assert f"  random2: {random2}  {recipe.search_space().cost(random2, 97).in_millions()}" in said
    times = {line.split()[0]: line for line in said[said.index("baselines:") :]}
    # The winner is the median; of the others the backbone's time, a classifier's, goes with the MACs.
    median = Architecture.parse(
        next(line for line in said if "median" in line).split("median")[1].split("  ")[-2].strip()
    )
    macs = [recipe.search_space().cost(found).macs for found in architectures(recipe).values() if found is not None]
    macs.append(ResNet("resnet50").cost().macs)
    more = [one / recipe.search_space().cost(median).macs - 1 for one in macs]
    pixels = (recipe.detector.min_size / recipe.pretraining.image_size) ** 2
    seconds = {
        "pretrain": 10 * 4 * (4 + sum(more)),
        "finetune": 10 * 2 * (4 * 10 + sum(more) * pixels) + 8 * (4 * 5 + sum(more) * 0.5 * pixels),
    }
    for stage, expected in seconds.items():
        assert times[stage].endswith(format_duration(expected))
