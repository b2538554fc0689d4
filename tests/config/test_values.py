"""Values that a recipe refuses, with the field and the remedy."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from recipes import refusal
from small_recipe import small_recipe

from detnas.config import FPNSettings, Recipe, load_recipe
from detnas.config.recipe import BASELINES
from detnas.spaces.named import SPACES


@pytest.mark.parametrize(
    "change",
    [
        "seed=-1",
        "seed=x",
        "seed=1.5",
        "seed=true",
        "device=gpu",
        "name=3",
        "search=5",
        "search=[1]",
        "detector=fpn",
        "search.population=0",
        "search.population=ten",
        "search.num_mutations=45",
        "search.fitness=latency",
        "search.sampler=nsga3",
        "search.second_objective=mAP",
        "pretraining.search_fraction=1",
        "pretraining.supernet=2",
        "search.mutation_probability=1.5",
        "search.mutation_probability=.nan",
        "data.search_fraction=0",
        "data.search_fraction=1",
        "data.bad_boxes=ignore",
        "data.search_images=0",
        "data.train=3",
        "data.train=[]",
        "data.val=[a.json, 3]",
        "search.metric=AP75",
        "search.proposals=0",
        "search.proposals=100",
        "data.shapes.size=16",
        "space.name=smal",
        "space.name=5",
        "space.width=0",
        "space.width=0.01",
        "space.width=.inf",
        "space.width=.nan",
        "pretraining.source=folder",
        "pretraining.source=imagenet",
        "finetune.steps=0",
        "finetune.steps=true",
        "finetune.lr=0",
        "finetune.lr=.nan",
        "finetune.lr=.inf",
        "finetune.weight_decay=.inf",
        "finetune.warmup=100",
        "finetune.milestones=[1.5]",
        "finetune.scale_jitter=[2, 1]",
        "finetune.scale_jitter=[1]",
        "finetune.checkpoint_every=0",
        "finetune.ema_decay=1",
        "finetune.decay_norms=maybe",
        "supernet_pretrain.macs_bins=[]",
        "supernet_pretrain.macs_bins=[300M]",
        "supernet_pretrain.macs_bins=[300M, 290M]",
        "supernet_finetune.macs_bins=[300M, 300M]",
        "supernet_finetune.macs_bins=[-1, 5]",
        "supernet_finetune.macs_bins=[a, b]",
        "supernet_finetune.macs_bins=300M",
        "finetune.macs_bins=[1, 2]",
        "finetune.paths=[fair]",
        "baselines=[shuffle9]",
        "baselines=random",
        "detector.anchor_sizes=[32]",
        "detector.anchor_sizes=[]",
        "detector.anchor_sizes=32",
        "detector.anchor_sizes=automatic",
        "detector.anchor_sizes=Auto",
        "detector.anchor_sizes=true",
        "detector.anchor_sizes={auto: 1}",
        "detector.strides=[8, 4, 16]",
        "detector.strides=[8, 16, 64]",
        "detector.strides=[]",
        "detector.max_size=10",
        "detector.fpn_channels=100",
        "detector.norm=layer",
        "detector.score_threshold=2",
        "detector.extra_levels=1",
        "detector.head_convs=5",
        "detector.anchor_ratios=[0, 1]",
        "detector.anchor_ratios=[]",
        "detector.anchor_scales=[-1]",
        "detector.anchor_scales=[]",
        "detector.image_mean=[0, 0]",
        "detector.image_mean=[0, 0, .nan]",
        "detector.image_std=[0, 1, 1]",
    ],
)
def test_a_wrong_value_is_refused_with_its_field(change: str, minimal: Path) -> None:
    message = refusal(minimal, change)
    assert message.startswith(f"{minimal}: ")
    message = message.removeprefix(f"{minimal}: ")
    key, _, text = change.partition("=")
    assert key in message or key.rpartition(".")[2] in message
    value = yaml.safe_load(text)
    if not isinstance(value, list | dict | bool):
        assert str(value) in message


def test_proposals_while_searching_are_those_of_an_fpn_that_detects(minimal: Path) -> None:
    assert "a retinanet has no proposals; leave it out" in refusal(minimal, "search.proposals=30")
    recipe = small_recipe("fpn", search__proposals=30)
    assert isinstance(recipe.detector, FPNSettings) and isinstance(recipe.search_detector, FPNSettings)
    assert (recipe.search_detector.proposals, recipe.detector.proposals) == (30, 10)
    assert recipe.search_detector == recipe.detector.model_copy(update={"proposals": 30})
    assert small_recipe("fpn").search_detector == small_recipe("fpn").detector
    with pytest.raises(ValidationError, match="proposals 30: classification has no proposals"):
        small_recipe("fpn", search__proposals=30, search__fitness="classification")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["search.sampler=nsga2"], "search: sampler nsga2 needs a second objective; let second_objective be macs"),
        (
            ["search.second_objective=macs"],
            "second_objective macs is for sampler nsga2; choose that, not evolution",
        ),
        (
            ["search.sampler=random", "search.second_objective=params"],
            "params is for sampler nsga2; choose",
        ),
        (
            ["search.sampler=nsga2", "search.second_objective=macs", "search.num_parents=1"],
            "search: num_parents 1: sampler nsga2",
        ),
        (
            ["search.sampler=nsga2", "search.second_objective=latency"],
            "search.second_objective latency needs a table of latencies",
        ),
    ],
)
def test_samplers_and_objectives_that_do_not_go_together_are_refused(
    changes: list[str], said: str, minimal: Path
) -> None:
    assert said in refusal(minimal, *changes)


def test_baselines_are_known_by_name(minimal: Path) -> None:
    names = ["shuffle3", "random", "random2", "random9", "resnet50", "detnas-fpn-1.3g"]
    assert load_recipe(minimal, [f"baselines={names}"]).baselines == tuple(names)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("randm", "did you mean random?"),
        ("random1", "did you mean random"),
        ("random10", "did you mean random"),
        ("resnet5", "did you mean resnet50?"),
        ("DetNAS-FPN-3.8G", "did you mean detnas-fpn-3.8g?"),
        ("qqqqqq", f"choose one of {', '.join(BASELINES)}"),
    ],
)
def test_an_unknown_baseline_is_refused_with_the_nearest(name: str, remedy: str, minimal: Path) -> None:
    message = refusal(minimal, f"baselines=[shuffle3, {name}]")
    assert message.startswith(f"{minimal}: baselines.1 = '{name}': unknown baseline; {remedy}")


def test_a_baseline_named_twice_is_refused(minimal: Path) -> None:
    assert "baselines ['random', 'random']: name each once" in refusal(minimal, "baselines=[random, random]")


def test_yes_is_no_number(minimal: Path) -> None:
    assert "finetune: vertical_flip takes neither yes nor no" in refusal(minimal, "finetune.vertical_flip=yes")
    assert load_recipe(minimal, ["finetune.decay_norms=no"]).finetune.decay_norms is False


def test_a_value_is_named_within_its_list(minimal: Path) -> None:
    assert "finetune.milestones.1 = 1.5" in refusal(minimal, "finetune.milestones=[0.5, 1.5]")
    assert "detector.anchor_sizes.2 = 0" in refusal(minimal, "detector.anchor_sizes=[8, 16, 0, 24, 32]")
    assert "detector.anchor_sizes.0 = 'auto'" in refusal(minimal, "detector.anchor_sizes=[auto]")


@pytest.mark.filterwarnings("error")
def test_sizes_of_anchors_are_numbers_or_auto(minimal: Path) -> None:
    for text, value in (("auto", "auto"), ("[8, 16, 24, 32, 48]", (8, 16, 24, 32, 48))):
        recipe = load_recipe(minimal, [f"detector.anchor_sizes={text}"])
        assert recipe.detector.anchor_sizes == value
        assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe
    said = refusal(minimal, "detector.anchor_sizes=automatic")
    assert said.endswith("= 'automatic': give a list of sizes in pixels, one a pyramid level, or write auto")


@pytest.mark.parametrize(
    "storage",
    [
        "postgresql+psycopg://me:hunter2@host/studies",
        "postgresql+psycopg://me:hun/ter2@host/studies",
        "postgresql+psycopg://:hunter2@host/studies",
        "postgresql+psycopg://me@host/studies?password=hunter2",
        "mysql+pymysql://host/studies?user=me&passwd=hunter2",
        "postgres://me:hunter2@host/studies",
        "sqlite:///hunter2.db",
        "hunter2",
        "postgresql+psycopg://host/{hunter2}",
    ],
)
def test_a_storage_that_is_refused_is_not_shown(storage: str, minimal: Path) -> None:
    message = refusal(minimal, f"search.storage={storage!r}")
    assert "search: storage" in message and "postgresql" in message.lower() and "ter2" not in message


def test_a_space_that_cannot_be_is_named_with_its_field(minimal: Path) -> None:
    assert refusal(minimal, "space.name=smal") == f"{minimal}: space.name = 'smal': choose one of {', '.join(SPACES)}"
    assert refusal(minimal, "space.width=0.01").startswith(f"{minimal}: space.width = 0.01: space small-x0.01: widths ")


def test_ways_of_sampling_paths_exclude_each_other(complete: Path) -> None:
    assert "macs_bins and paths fair: each says" in refusal(complete, "supernet_finetune.macs_bins=[1M, 2M]")


@pytest.mark.parametrize(
    ("training", "field"),
    [("supernet_pretrain", "pretraining.image_size"), ("finetune", "detector.min_size")],
)
def test_a_batch_of_one_small_image_is_refused(training: str, field: str) -> None:
    """Its last maps are single values, and BN in training raises."""
    small = {"detector__min_size": 32, "pretraining__image_size": 32}
    with pytest.raises(ValidationError, match=rf"{training}.batch_size 1 is too small for {field} 32"):
        small_recipe(**small, **{f"{training}__batch_size": 1})
    larger = {"detector__min_size": 33, "pretraining__image_size": 33}
    assert getattr(small_recipe(**larger, **{f"{training}__batch_size": 1}), training).batch_size == 1
