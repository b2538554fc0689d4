"""What every weight source keeps to: what it fills, that it fills it the same each time, and what it refuses."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import official_reference as reference
import pytest
import torch
from build_once import build_once
from lite_reference import build
from small_models import NUM_CLASSES, retinanet
from small_models import SPACE as TOY
from small_recipe import assert_same, small_recipe

from detnas.config import OFFICIAL_INPUT, Preprocessing
from detnas.models.backbone import SpaceBackbone, Subnet
from detnas.models.detectors.build import build_detector
from detnas.models.supernet import Supernet
from detnas.models.weight_sources.spec import WeightSource
from detnas.models.weights import BackboneInfo, DetectorInfo, save_backbone, save_detector
from detnas.run.pipeline import run
from detnas.run.weights import open_weights
from detnas.spaces import Architecture, SearchSpace, search_space
from detnas.utils.errors import UserError

OTHER_INPUT = Preprocessing(image_mean=(0.1, 0.2, 0.3), image_std=(0.4, 0.5, 0.6))


def state(backbone: SpaceBackbone) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in backbone.state_dict().items()}


class WeightSourceContract:
    """Derive from it and give the fixtures `where`, which `pretraining.weights` may say, `space`, whose networks begin
    with these weights, `preprocessing`, and `others`, spaces that the weights do not fit."""

    @pytest.fixture
    def source(self, where: str, space: SearchSpace) -> WeightSource:
        return open_weights(where, space)

    @pytest.fixture
    def filled(self, source: WeightSource, space: SearchSpace) -> Supernet:
        supernet = Supernet(space, source.shuffle)
        source.fill(supernet)
        return supernet

    def test_a_supernet_takes_the_same_weights_whatever_it_had(
        self, source: WeightSource, filled: Supernet, where: str, space: SearchSpace
    ) -> None:
        for seed, again in ((5, source), (6, open_weights(where, space))):
            torch.manual_seed(seed)
            supernet = Supernet(space, source.shuffle)
            fresh = state(supernet)
            again.fill(supernet)
            learned = state(supernet)
            assert_same(learned, state(filled))
            kernels = [name for name, tensor in fresh.items() if tensor.dim() == 4]
            assert kernels and not any(torch.equal(fresh[name], learned[name]) for name in kernels)
            assert all(tensor.isfinite().all() for tensor in learned.values())

    def test_a_single_network_takes_the_weights_of_its_path(
        self, source: WeightSource, filled: Supernet, space: SearchSpace
    ) -> None:
        rng = np.random.default_rng(0)
        for architecture in (space.draw(rng), space.draw(rng)):
            network = Subnet(space, architecture, source.shuffle)
            source.fill(network)
            assert_same(state(network), state(filled.subnet(architecture)))

    def test_what_it_has_filled_shares_nothing_with_it(self, source: WeightSource, filled: Supernet) -> None:
        expected = state(filled)
        for tensor in filled.state_dict().values():
            tensor.zero_()
        source.fill(filled)
        assert_same(state(filled), expected)

    def test_it_says_what_it_is(
        self, source: WeightSource, where: str, space: SearchSpace, preprocessing: Preprocessing
    ) -> None:
        assert where in source.where
        assert re.fullmatch(r"[0-9a-f]{64}", source.digest) and open_weights(where, space).digest == source.digest
        assert source.preprocessing == preprocessing

    def test_spaces_that_it_does_not_fit_are_refused_by_name(
        self, source: WeightSource, where: str, space: SearchSpace, others: list[SearchSpace]
    ) -> None:
        source.check(space)
        for other in others:
            attempts: list[Callable[[], object]] = [
                lambda other=other: source.check(other),
                lambda other=other: source.fill(Supernet(other)),
                lambda other=other: open_weights(where, other),
            ]
            for attempt in attempts:
                with pytest.raises(UserError) as refusal:
                    attempt()
                message = str(refusal.value)
                assert where in message and f"space {other.name}" in message and "; " in message

    def test_networks_of_other_spaces_of_the_same_layout_are_no_others(
        self, source: WeightSource, space: SearchSpace
    ) -> None:
        renamed = replace(space, name="renamed")
        source.check(renamed)
        source.fill(Supernet(renamed, source.shuffle))


class TestShippedWeights(WeightSourceContract):
    where = pytest.fixture(lambda self: "efficientnet-lite0")
    space = pytest.fixture(lambda self: search_space("mobile"))
    preprocessing = pytest.fixture(lambda self: Preprocessing(image_mean=(127 / 255,) * 3, image_std=(128 / 255,) * 3))
    others = pytest.fixture(
        lambda self: [
            search_space("mobile", 0.5),
            search_space("mobile-lite1"),
            search_space("small"),
            search_space("mobile", repeats=(1, 2, 3, 3, 4, 1)),
            search_space("mobile", ops=("mbconv6_k3", "shuffle3")),
        ]
    )


class TestEfficientNetLiteFile(TestShippedWeights):
    @pytest.fixture(scope="class")
    def where(self, tmp_path_factory: pytest.TempPathFactory) -> str:
        file = tmp_path_factory.mktemp("lite") / "lite0.pth"
        torch.save(build("efficientnet-lite0").state_dict(), file)
        return str(file)


class TestWeightsFile(WeightSourceContract):
    """A supernet's, alone and in a detector."""

    space = pytest.fixture(lambda self: TOY)
    preprocessing = pytest.fixture(lambda self: OTHER_INPUT)
    others = pytest.fixture(
        lambda self: [
            SearchSpace("wide", 4, (12, 16, 24, 32), (2, 1, 2, 1)),
            SearchSpace("deep", 4, (8, 16, 24, 32), (2, 1, 2, 2)),
            SearchSpace("few-ops", 4, (8, 16, 24, 32), (2, 1, 2, 1), ("shuffle3", "xception")),
            search_space("mobile"),
        ]
    )

    @pytest.fixture(scope="class", params=["backbone", "detector"])
    def where(self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
        torch.manual_seed(1)
        supernet, file = Supernet(TOY, "interleave"), tmp_path_factory.mktemp("file") / "supernet.safetensors"
        if request.param == "backbone":
            save_backbone(file, supernet, BackboneInfo(TOY, None, OTHER_INPUT, "interleave"))
        else:
            settings = retinanet(**OTHER_INPUT.model_dump())
            categories = tuple((id, f"class {id}") for id in range(NUM_CLASSES))
            info = DetectorInfo(TOY, None, settings, categories, "interleave")
            save_detector(file, build_detector(supernet, NUM_CLASSES, settings), info)
        return str(file)

    def test_channels_are_split_as_in_the_file(self, source: WeightSource) -> None:
        assert source.shuffle == "interleave"


class TestOfficialCheckpoint(WeightSourceContract):
    SPACE = SearchSpace("official", reference.STEM, reference.CHANNELS, reference.REPEATS)
    space = pytest.fixture(lambda self: self.SPACE)
    preprocessing = pytest.fixture(lambda self: OFFICIAL_INPUT)
    others = pytest.fixture(
        lambda self: [
            SearchSpace("wide", 8, (20, 32, 48, 64), reference.REPEATS),
            SearchSpace("deep", 8, reference.CHANNELS, (2, 2, 3, 2)),
            SearchSpace("few-ops", 8, reference.CHANNELS, reference.REPEATS, ("shuffle3", "xception")),
            search_space("mobile"),
        ]
    )

    @pytest.fixture(scope="class")
    def where(self, tmp_path_factory: pytest.TempPathFactory) -> str:
        tensors, images = reference.Tensors(), torch.rand(1, 3, 64, 96, dtype=torch.float64)
        reference.backbone(tensors, images, list(Architecture.parse("21 30 03 12").ops), "interleave", "", True)
        file = tmp_path_factory.mktemp("official") / "supernet.pkl"
        torch.save({"model": dict(tensors), "iteration": 3}, file)
        return str(file)

    def test_channels_are_split_as_in_official_supernets(self, source: WeightSource) -> None:
        assert source.shuffle == "interleave"


class TestRun(WeightSourceContract):
    """Of its supernet as it was pre-trained, or fine-tuned where it was not pre-trained."""

    RECIPE = small_recipe(supernet_pretrain__steps=4, supernet_finetune__steps=4)
    space = pytest.fixture(lambda self: self.RECIPE.search_space())
    preprocessing = pytest.fixture(lambda self: Preprocessing())
    others = pytest.fixture(
        lambda self: [search_space("tiny"), search_space("tiny", 0.25, ops=("shuffle3", "xception"))]
    )

    @pytest.fixture(scope="class", params=["crops", "none"])
    def where(self, request: pytest.FixtureRequest, blocks: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
        source = request.param

        def train(folder: Path) -> None:
            recipe = self.RECIPE.model_copy(
                update={"pretraining": self.RECIPE.pretraining.model_copy(update={"source": source})}
            )
            run(recipe, folder / "run", blocks, stages=("supernet-pretrain", "supernet-finetune"))

        return str(build_once(tmp_path_factory, f"weights-{source}", train) / "run")

    def test_the_weights_are_those_of_the_stage(self, source: WeightSource, filled: Supernet, where: str) -> None:
        stage, part = (
            ("supernet-pretrain", "backbone.") if "crops" in where else ("supernet-finetune", "backbone.body.")
        )
        assert source.where == str(Path(where, stage))
        saved = torch.load(Path(where, stage, "checkpoint-00000004.pt"), weights_only=True)["model"]
        expected = {name.removeprefix(part): x for name, x in saved.items() if name.startswith(part)}
        assert_same(state(filled), expected)
