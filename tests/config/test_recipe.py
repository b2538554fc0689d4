"""Recipes: what is read, what is refused, and in which words."""

import copy
import json
from math import inf
from pathlib import Path
from typing import Any

import pytest
import yaml
from latency_tables import synthetic
from pydantic import ValidationError
from small_recipe import small_recipe

from detnas.config import FPNSettings, Recipe, RetinaNetSettings, load_recipe, recipe_names
from detnas.config.recipe import BASELINES
from detnas.spaces import Budget, BudgetSampler, search_space
from detnas.spaces.space import SPACES
from detnas.utils.errors import UserError

TRAINING = {"steps": 100, "batch_size": 4, "lr": 0.1}

COMPLETE = """
name: complete
seed: 3
device: cpu
data:
  shapes: {train: 40, val: 10, size: 64, crops: 20, crop_size: 32, min_object: 6, max_objects: 3, clutter: 0.5, seed: 1}
  train: [annotations/a.json, annotations/c.json]
  train_images: images
  val: annotations/b.json
  val_images: images
  val_fraction: 0.1
  search_fraction: 0.3
  search_images: 5
  bad_boxes: drop
  cache_mb: 100
  disk_cache_mb: 500
  group_by_aspect: false
space:
  {name: tiny, width: 0.5, stem: null, channels: null, repeats: null, ops: [shuffle3, shuffle5, shuffle7, xception]}
budget:
  {macs_min: 5M, macs_max: 0.02G, params_min: 10k, params_max: 500k, size: 128,
   latency_min: 1, latency_max: 20.5, latencies: /tables/latencies.json}
detector:
  type: fpn
  min_size: 64
  max_size: 96
  image_mean: [0, 0, 0]
  image_std: [1, 1, 1]
  channel_order: bgr
  strides: [4, 8, 16, 32]
  fpn_channels: 64
  anchor_sizes: [8, 16, 32, 64, 96]
  anchor_ratios: [0.5, 1, 2]
  geometry: maskrcnn-benchmark
  score_threshold: 0.01
  nms_threshold: 0.6
  detections: 50
  norm: group
  rpn_candidates_train: 200
  rpn_candidates: 100
  proposals_train: 200
  proposals: 100
  rois: 64
  roi_canonical_size: 56
  box_convs: 2
  box_channels: 64
  box_features: 128
pretraining:
  source: folder
  supernet: true
  folder: classes
  image_size: 64
  min_scale: 0.3
  head_channels: 128
  background: 0.1
  search_fraction: 0.3
init: fan_in
pretrain: &training
  steps: 100
  batch_size: 8
  optimizer: adamw
  lr: 1e-3
  momentum: 0.8
  weight_decay: 1.0e-2
  decay_norms: false
  bias_lr_factor: 2
  schedule: step
  milestones: [0.5, 0.75]
  warmup: 10
  clip_norm: 5
  precision: bf16
  label_smoothing: 0
  color_jitter: 0.4
  flip: 0
  vertical_flip: 0.5
  scale_jitter: [0.5, 2]
  workers: 2
  checkpoint_every: 50
  sync_bn: true
  ema_decay: 0.99
supernet_pretrain: {<<: *training, macs_bins: [5M, 0.01G, 20000000], fair_paths: false}
supernet_finetune: {<<: *training, macs_bins: null, fair_paths: true}
search:
  sampler: nsga2
  second_objective: params
  fitness: classification
  evaluations: 40
  population: 10
  num_parents: 4
  num_mutations: 5
  mutation_probability: 0.2
  num_crossovers: 5
  recalibration_batches: 8
  recalibration_batch_size: 4
  metric: VOC07
  proposals: null
  images: 100
  batch_size: 16
  storage: postgresql+psycopg://me@host/studies
finetune: {<<: *training, steps: 50, schedule: cosine}
baselines: [random]
"""

MINIMAL: dict[str, Any] = {
    "name": "minimal",
    "detector": {"type": "retinanet"},
    **dict.fromkeys(("supernet_pretrain", "supernet_finetune", "pretrain", "finetune"), TRAINING),
}


def dump(tree: Any) -> str:
    """YAML without aliases."""
    return yaml.safe_dump(json.loads(json.dumps(tree)))


@pytest.fixture
def complete(tmp_path: Path) -> Path:
    file = tmp_path / "complete.yaml"
    file.write_text(COMPLETE)
    return file


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    file = tmp_path / "minimal.yaml"
    file.write_text(dump(MINIMAL))
    return file


def refused(recipe: str | Path, *changes: str) -> str:
    """What load_recipe says, on its one line."""
    with pytest.raises(UserError) as refusal:
        load_recipe(recipe, changes)
    message = str(refusal.value)
    assert "\n" not in message and len(message) < 600
    return message


def with_tree(tmp_path: Path, tree: Any) -> Path:
    file = tmp_path / "changed.yaml"
    file.write_text(dump(tree))
    return file


# What is read


def test_a_complete_recipe_is_read(complete: Path) -> None:
    recipe = load_recipe(complete)
    given = yaml.safe_load(COMPLETE)
    assert recipe.data.shapes is not None and recipe.data.shapes.crops == 20
    assert isinstance(recipe.detector, FPNSettings)
    assert recipe.detector.anchor_sizes == (8, 16, 32, 64, 96)
    assert recipe.supernet_pretrain.lr == 1e-3 and recipe.supernet_pretrain.scale_jitter == (0.5, 2)
    assert recipe.finetune.steps == 50 and recipe.finetune.schedule == "cosine"
    assert recipe.supernet_pretrain.macs_bins == (5e6, 10e6, 20e6)
    assert (recipe.supernet_pretrain.paths_per_step(4), recipe.supernet_finetune.paths_per_step(4)) == (1, 4)
    assert recipe.baselines == ("random",)
    assert (recipe.budget.macs_min, recipe.budget.macs_max) == (5e6, 20e6)
    assert (recipe.budget.params_min, recipe.budget.params_max) == (10_000, 500_000)
    # Every key of every section stands in the text above, so that none is forgotten here.
    dumped = recipe.model_dump(mode="json")
    assert dumped.keys() == given.keys()
    for section in ("data", "space", "budget", "detector", "pretraining", "supernet_pretrain", "search", "finetune"):
        assert dumped[section].keys() == given[section].keys(), section
    assert dumped["data"]["shapes"].keys() == given["data"]["shapes"].keys()


def test_a_recipe_needs_little_and_takes_the_papers_values(minimal: Path) -> None:
    recipe = load_recipe(minimal)
    assert isinstance(recipe.detector, RetinaNetSettings)
    assert recipe.search.evaluations == 1000 and recipe.search.population == 50 and recipe.search.num_parents == 10
    assert (recipe.search.num_mutations, recipe.search.num_crossovers, recipe.search.mutation_probability) == (
        20,
        20,
        0.1,
    )
    assert recipe.search_space() == search_space("small")
    assert recipe.cost_budget() == Budget()
    assert recipe.detector.nms_threshold == 0.4 and FPNSettings().nms_threshold == 0.5


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_is_shipped_loads(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    BudgetSampler(recipe.search_space(), recipe.cost_budget())  # refuses a budget that nothing meets


@pytest.mark.parametrize("name", ["complete", "minimal", *recipe_names()])
def test_a_recipe_comes_back_from_its_own_dump(name: str, complete: Path, minimal: Path, tmp_path: Path) -> None:
    recipe = load_recipe({"complete": complete, "minimal": minimal}.get(name, name))
    dumped = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (tmp_path / "dumped.yaml").write_text(dumped)
    again = load_recipe(tmp_path / "dumped.yaml")
    assert again == recipe
    assert yaml.safe_dump(again.model_dump(mode="json"), sort_keys=False, allow_unicode=True) == dumped


def test_what_a_run_adds_to_its_recipe_is_passed_over(minimal: Path, tmp_path: Path) -> None:
    added = {"versions": {"torch": "2.14"}, "data_fingerprint": "ab", "data_directory": "/data"}
    assert load_recipe(with_tree(tmp_path, MINIMAL | added)) == load_recipe(minimal)


def test_recipes_are_immutable(minimal: Path) -> None:
    recipe = load_recipe(minimal)
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("300M", 300e6),
        ("1.3G", 1.3e9),
        ("500k", 500e3),
        ("300000000", 300e6),
        ("3e8", 3e8),
        ("0", 0),
        # Exact, or the architecture that costs just this would be outside.
        ("262.705856M", 262_705_856),
        ("1.036681632G", 1_036_681_632),
        ("null", None),
    ],
)
def test_numbers_may_carry_a_unit(text: str, number: float | None, minimal: Path) -> None:
    assert load_recipe(minimal, [f"budget.macs_max={text}"]).budget.macs_max == number


def test_all_numbers_of_a_unit_are_exact(minimal: Path) -> None:
    for units in range(262_705_000, 262_706_000, 37):
        assert load_recipe(minimal, [f"budget.macs_max={units / 1e6:.6f}M"]).budget.macs_max == units


@pytest.mark.parametrize(
    "text", ["300m", "M", "300 MB", "three", "-1M", "1.2.3G", "[1]", "true", ".nan", ".inf", "nanM", "infG"]
)
def test_what_is_no_number_is_refused(text: str, minimal: Path) -> None:
    message = refused(minimal, f"budget.macs_max={text}")
    assert "budget" in message and "macs_max" in message


def test_the_budget_has_both_ends(minimal: Path) -> None:
    recipe = load_recipe(minimal, ["budget.macs_min=280M", "budget.params_max=2M", "budget.size=320"])
    assert recipe.cost_budget() == Budget(macs=(280e6, inf), params=(0, 2e6), size=320)
    assert load_recipe(minimal, ["budget.macs_max=0"]).cost_budget().macs == (0, 0)


def test_latencies_are_bounded_in_milliseconds_by_a_table(
    minimal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = synthetic(search_space("small"))
    table.write(tmp_path / "table.json")
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(minimal, ["budget.latencies=table.json", "budget.latency_max=20.001"])
    # Resolved: a run goes on from another folder, too.
    assert recipe.budget.latencies == str(tmp_path / "table.json")
    assert recipe.cost_budget() == Budget(latency=(0, 20_001), latencies=table)
    assert load_recipe(minimal, ["budget.latencies=table.json"]).cost_budget() == Budget(latencies=table)
    (tmp_path / "table.json").unlink()
    with pytest.raises(UserError, match=r"budget.latencies = '.*/table.json': no such file"):
        recipe.cost_budget()


@pytest.mark.parametrize("bound", ["latency_min", "latency_max"])
def test_a_bound_on_the_latency_needs_a_table(bound: str, minimal: Path) -> None:
    message = refused(minimal, f"budget.{bound}=12.5")
    assert f"budget: {bound} 12.5 needs a table of latencies" in message and "profile RECIPE --latency" in message


# Changes from the command line


def test_changes_are_made_to_any_depth(minimal: Path) -> None:
    recipe = load_recipe(
        minimal,
        [
            "seed=7",
            "search.population=60",
            "search.population=70",
            "data.shapes.train=50",
            "detector.anchor_ratios=[1, 2]",
            "baselines=[]",
            "finetune.scale_jitter=[0.8, 1.2]",
            "name=a=b",
            "data.train=null",
        ],
    )
    assert (recipe.seed, recipe.search.population, recipe.name) == (7, 70, "a=b")
    assert recipe.data.shapes is not None and recipe.data.shapes.train == 50
    assert recipe.baselines == () and recipe.finetune.scale_jitter == (0.8, 1.2)
    assert recipe.detector.anchor_ratios == (1, 2)
    # Only what was named has changed.
    assert recipe.finetune.steps == 100 and recipe.supernet_finetune.scale_jitter is None


def test_changes_of_an_aliased_section_stay_where_they_are_made(complete: Path) -> None:
    text = COMPLETE.replace("{<<: *training, macs_bins: null, fair_paths: true}", "*training")
    complete.write_text(
        text.replace("{<<: *training, macs_bins: [5M, 0.01G, 20000000], fair_paths: false}", "*training")
    )
    recipe = load_recipe(complete, ["supernet_pretrain.steps=77"])
    assert recipe.supernet_pretrain.steps == 77
    assert recipe.pretrain.steps == recipe.supernet_finetune.steps == 100


def test_a_change_can_switch_the_detector(minimal: Path) -> None:
    assert isinstance(load_recipe(minimal, ["detector.type=fpn"]).detector, FPNSettings)


@pytest.mark.parametrize("change", ["search.population", "=5", "", "population 5"])
def test_a_change_without_key_or_value_is_refused(change: str, minimal: Path) -> None:
    message = refused(minimal, change)
    assert message.startswith(f"--set {change}:") and "key=value" in message


@pytest.mark.parametrize("change", ["seed.x=3", "search.population.x=3", "name.a.b=1"])
def test_a_change_within_a_value_is_refused(change: str, minimal: Path) -> None:
    assert load_recipe(minimal, ["seed=1"]).seed == 1
    assert change in refused(with_tree(minimal.parent, MINIMAL | {"seed": 1, "search": {"population": 50}}), change)


def test_a_change_that_is_not_yaml_is_refused(minimal: Path) -> None:
    assert "quote it" in refused(minimal, "seed=[1")


@pytest.mark.parametrize(
    ("change", "right"),
    [
        ("sed=1", "seed"),
        ("search.poplation=5", "search.population"),
        ("data.shapes.trian=5", "data.shapes.train"),
        ("detector.anchor_size=[1]", "detector.anchor_sizes"),
        ("supernet_finetun.steps=5", "supernet_finetune"),
        ("finetune.learning_rate=5", "known keys: steps, batch_size, optimizer, lr, "),
    ],
)
def test_a_misspelled_change_names_the_right_key(change: str, right: str, minimal: Path) -> None:
    message = refused(minimal, change)
    assert f"unknown key {change.split('=')[0].removesuffix('.steps')}" in message
    assert right in message


# Misspelled keys


def misspell(tree: dict[str, Any], path: str, wrong: str) -> dict[str, Any]:
    """The tree with the key at `path` written `wrong`."""
    tree = copy.deepcopy(tree)
    *sections, key = path.split(".")
    node = tree
    for section in sections:
        node = node[section]
    node[wrong] = node.pop(key)
    return tree


MISSPELLED = [
    ("seed", "sead"),
    ("budget", "buget"),
    ("supernet_pretrain", "supernet-pretrain"),
    ("search.num_mutations", "num_mutation"),
    ("data.bad_boxes", "bad_box"),
    ("data.shapes.clutter", "cluter"),
    ("budget.macs_max", "mac_max"),
    ("detector.proposals_train", "proposal_train"),
    ("detector.min_size", "minsize"),
    ("finetune.milestones", "milestone"),
    ("pretraining.source", "sorce"),
]


@pytest.mark.parametrize(("path", "wrong"), MISSPELLED)
def test_a_misspelled_key_is_named_with_the_right_one(path: str, wrong: str, tmp_path: Path) -> None:
    file = with_tree(tmp_path, misspell(yaml.safe_load(COMPLETE), path, wrong))
    message = refused(file)
    section = path.rpartition(".")[0]
    assert message == f"{file}: unknown key {f'{section}.{wrong}' if section else wrong}; did you mean {path}?"


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        ("fpn", "box_feature", "box_features"),
        ("fpn", "roi_canonic_size", "roi_canonical_size"),
        ("retinanet", "head_conv", "head_convs"),
        ("retinanet", "extra_level", "extra_levels"),
        ("retinanet", "anchor_scale", "anchor_scales"),
    ],
)
def test_the_right_key_of_a_detector_is_one_of_its_own(kind: str, wrong: str, right: str, tmp_path: Path) -> None:
    file = with_tree(tmp_path, MINIMAL | {"detector": {"type": kind, wrong: 1}})
    assert refused(file) == f"{file}: unknown key detector.{wrong}; did you mean detector.{right}?"


def test_a_key_of_the_other_detector_is_unknown(tmp_path: Path) -> None:
    file = with_tree(tmp_path, MINIMAL | {"detector": {"type": "retinanet", "box_features": 64}})
    assert "unknown key detector.box_features; " in refused(file)


@pytest.mark.parametrize(
    ("tree", "key"),
    [
        (MINIMAL | {"fpn": {"min_size": 64}}, "fpn"),
        (MINIMAL | {"retinanet": 3}, "retinanet"),
        (MINIMAL | {"detector": {"type": "fpn", "fpn": {"min_size": 64}}}, "detector.fpn"),
        (MINIMAL | {"detector": {"type": "fpn", "retinanet": 1}}, "detector.retinanet"),
        (MINIMAL | {"search": {"fpn": 1}}, "search.fpn"),
    ],
)
def test_a_detectors_name_as_a_key_is_an_unknown_key(tree: dict[str, Any], key: str, tmp_path: Path) -> None:
    assert f"unknown key {key}; " in refused(with_tree(tmp_path, tree))


def test_a_key_like_no_other_lists_those_that_are_known(minimal: Path) -> None:
    message = refused(minimal, "space.qqqqqqqq=1")
    assert "unknown key space.qqqqqqqq; known keys: name, width" in message


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    for key in ("name", "detector", "finetune"):
        tree = {name: value for name, value in MINIMAL.items() if name != key}
        assert f"{key} is missing" in refused(with_tree(tmp_path, tree))
    tree = MINIMAL | {"finetune": {"steps": 3, "lr": 0.1}}
    assert "finetune.batch_size is missing" in refused(with_tree(tmp_path, tree))


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
    message = refused(minimal, f"search.storage={storage!r}")
    assert "search: storage" in message and "postgresql" in message.lower() and "ter2" not in message


@pytest.mark.parametrize(
    "storage",
    [
        "postgresql+psycopg://me@host:5432/studies",
        "postgresql+psycopg://postgres:@/postgres?host=/tmp/server",
        "mysql+pymysql://me@host/studies?read_default_file=/home/me/.my.cnf",
    ],
)
def test_a_storage_without_a_password_is_taken(storage: str, minimal: Path) -> None:
    assert load_recipe(minimal, [f"search.storage={storage}"]).search.storage == storage


@pytest.mark.parametrize("kind", [None, "yolo", "FPN", 3])
def test_a_detector_of_no_known_type_is_refused(kind: Any, tmp_path: Path) -> None:
    message = refused(with_tree(tmp_path, MINIMAL | {"detector": {"type": kind, "min_size": 64}}))
    assert "detector.type" in message and "fpn" in message and "retinanet" in message
    if kind is not None:
        assert repr(kind) in message
    message = refused(with_tree(tmp_path, MINIMAL | {"detector": {"min_size": 64}}))
    assert "detector.type" in message and "fpn" in message and "retinanet" in message


# Wrong values


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
        "finetune.fair_paths=true",
        "baselines=[shuffle9]",
        "baselines=random",
        "detector.anchor_sizes=[32]",
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
    message = refused(minimal, change)
    assert message.startswith(f"{minimal}: ")
    message = message.removeprefix(f"{minimal}: ")
    key, _, text = change.partition("=")
    assert key in message or key.rpartition(".")[2] in message
    value = yaml.safe_load(text)
    if not isinstance(value, list | dict | bool):
        assert str(value) in message


def test_proposals_while_searching_are_those_of_an_fpn_that_detects(minimal: Path) -> None:
    assert "a retinanet has no proposals; leave it out" in refused(minimal, "search.proposals=30")
    recipe = small_recipe("fpn", search__proposals=30)
    assert isinstance(recipe.detector, FPNSettings) and isinstance(recipe.search_detector, FPNSettings)
    assert (recipe.search_detector.proposals, recipe.detector.proposals) == (30, 10)
    assert recipe.search_detector == recipe.detector.model_copy(update={"proposals": 30})
    assert small_recipe("fpn").search_detector == small_recipe("fpn").detector
    with pytest.raises(ValidationError, match="proposals 30: judging by classification has no proposals"):
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
    assert said in refused(minimal, *changes)


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
    message = refused(minimal, f"baselines=[shuffle3, {name}]")
    assert message.startswith(f"{minimal}: baselines.1 = '{name}': unknown baseline; {remedy}")


def test_a_baseline_named_twice_is_refused(minimal: Path) -> None:
    assert "baselines ['random', 'random']: name each once" in refused(minimal, "baselines=[random, random]")


def test_yes_is_no_number(minimal: Path) -> None:
    assert "finetune: vertical_flip takes neither yes nor no" in refused(minimal, "finetune.vertical_flip=yes")
    assert load_recipe(minimal, ["finetune.decay_norms=no"]).finetune.decay_norms is False


def test_a_value_is_named_within_its_list(minimal: Path) -> None:
    assert "finetune.milestones.1 = 1.5" in refused(minimal, "finetune.milestones=[0.5, 1.5]")


# Files


def test_what_is_no_recipe_is_refused(tmp_path: Path) -> None:
    for name, content, words in (
        ("list.yaml", b"- 1\n- 2\n", "not a recipe"),
        ("empty.yaml", b"", "not a recipe"),
        ("text.yaml", b"hello", "not a recipe"),
        ("torn.yaml", b"name: [1,\n b: {", "not YAML"),
        ("tab.yaml", b"a:\n\t- b", "not YAML"),
        ("bytes.yaml", b"\xff\xfe\x00\x81", "not a recipe"),
        ("tag.yaml", b"name: !!python/object/apply:os.getcwd []", "not YAML"),
        ("keys.yaml", b"1: 2\nname: a\n", "keys should be strings"),
        ("twice.yaml", dump(MINIMAL).encode() + b"seed: 1\nseed: 2\n", "seed"),
        ("twice_within.yaml", dump(MINIMAL).encode() + b"search:\n  num_parents: 1\n  num_parents: 2\n", "parents"),
    ):
        (tmp_path / name).write_bytes(content)
        message = refused(tmp_path / name)
        assert message.startswith(f"{tmp_path / name}: ") and words in message.removeprefix(f"{tmp_path / name}: ")


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    message = refused("no-such-recipe-at-all")
    assert "no-such-recipe-at-all" in message and "name a file" in message
    for name in recipe_names():
        assert name in message
        assert f"did you mean {name}?" in refused(name + "x")
    assert "no such recipe or file" in refused("")


def test_a_recipe_object_is_checked_like_a_file() -> None:
    with pytest.raises(ValueError, match="extra"):
        Recipe.model_validate(MINIMAL | {"sead": 1})


def test_a_space_that_cannot_be_is_named_with_its_field(minimal: Path) -> None:
    assert refused(minimal, "space.name=smal") == f"{minimal}: space.name = 'smal': choose one of {', '.join(SPACES)}"
    assert refused(minimal, "space.width=0.01").startswith(f"{minimal}: space.width = 0.01: space small-x0.01: widths ")


def test_fair_paths_and_bins_exclude_each_other(complete: Path) -> None:
    assert "fair_paths" in refused(complete, "supernet_finetune.macs_bins=[1M, 2M]")


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
