"""What every detector must do: build around any backbone, learn, detect, be counted, kept and exported."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import ARCHITECTURES, NUM_CLASSES, SETTINGS, SPACE, random_images, targets
from small_recipe import small_tree
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import detnas
from detnas.config import DetectorSettings, Recipe
from detnas.config.detector import HEAD_OPS, HeadOp, read_settings
from detnas.exporting.check import compare
from detnas.exporting.postprocess import detections, prepare
from detnas.models.backbone import Backbone, Subnet
from detnas.models.detectors import DETECTORS
from detnas.models.detectors.build import Detector, build_detector, find_spec, first_label, set_resolution
from detnas.models.detectors.detect import Detections, detect
from detnas.models.detectors.geometry import ImageTransform
from detnas.models.supernet import Supernet, extract_subnet
from detnas.models.weights import DetectorInfo, load_detector, save_detector
from detnas.search.evaluators.recalibration import recalibrate
from detnas.spaces import search_space
from detnas.utils.errors import UserError

CPU = torch.device("cpu")
BOXES = [[4.0, 6, 30, 40], [20, 20, 60, 50], [50, 2, 61, 13]]
CATEGORIES = tuple((number, f"class {number}") for number in range(NUM_CLASSES))


class Pooling(Backbone):
    """A backbone of no search space."""

    def __init__(self) -> None:
        super().__init__()
        self.channels, self.strides = [4, 8, 12, 16], [4, 8, 16, 32]
        self.layers = nn.ModuleList(nn.Conv2d(3, channels, 1) for channels in self.channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        pool = nn.functional.avg_pool2d
        return [layer(pool(images, n, ceil_mode=True)) for layer, n in zip(self.layers, self.strides, strict=True)]


BACKBONES = {
    "subnet": lambda: Subnet(SPACE, ARCHITECTURES[1]),
    "supernet": lambda: Supernet(SPACE),
    "wide": lambda: Subnet(search_space("tiny", 0.5), search_space("tiny", 0.5).uniform("xception")),
    "foreign": Pooling,
}


def pixels(*sizes: tuple[int, int]) -> list[Tensor]:
    """Images (3, H, W) uint8."""
    return [(image * 255).to(torch.uint8) for image in random_images(*sizes)]


class DetectorContract:
    """Derive from it and give the fixture `settings`: those of a detector of `DETECTORS`, for images of 64 to 96 pixels
    and with a score threshold of 0."""

    @pytest.fixture
    def detector(self, settings: DetectorSettings) -> Detector:
        return self.build(settings)

    def build(self, settings: DetectorSettings, backbone: Backbone | None = None) -> Detector:
        torch.manual_seed(0)
        return build_detector(backbone or Subnet(SPACE, ARCHITECTURES[1]), NUM_CLASSES, settings)

    def losses(self, detector: Detector, *boxes: list[list[float]]) -> dict[str, Tensor]:
        torch.manual_seed(1)  # a detector may sample what it learns from
        images = random_images(*[(64, 80), (70, 64), (64, 64)][: len(boxes)])
        losses: dict[str, Tensor] = detector.train()(images, targets(first_label(detector), *boxes))
        return losses

    # Settings

    def test_the_table_finds_it(self, settings: DetectorSettings, detector: Detector) -> None:
        spec = DETECTORS[settings.type]
        assert type(settings) is spec.settings and spec.settings.model_fields["type"].default == settings.type
        assert find_spec(detector) is spec and first_label(detector) == spec.first_label
        assert isinstance(detector.transform, ImageTransform) and detector.transform.settings == settings
        assert set(settings.BOX_COUNTS) <= type(settings).model_fields.keys()

    def test_settings_come_back(self, settings: DetectorSettings) -> None:
        assert read_settings(settings.model_dump(mode="json")) == settings

    def test_a_recipe_takes_it(self, settings: DetectorSettings) -> None:
        recipe = Recipe.model_validate(small_tree() | {"detector": settings.model_dump(mode="json")})
        assert recipe.detector == settings and Recipe.model_validate(recipe.model_dump(mode="json")) == recipe

    def test_python_takes_it(self, settings: DetectorSettings) -> None:
        net = Subnet(SPACE, ARCHITECTURES[1])
        detector = detnas.create_detector(settings.type, net, NUM_CLASSES, fpn_channels=24, strides=settings.strides)
        assert detector.transform.settings.fpn_channels == 24
        with pytest.raises(
            UserError, match=rf"^detector {settings.type}: unknown key fpn_chanels; did you mean fpn_cha"
        ):
            detnas.create_detector(settings.type, net, NUM_CLASSES, fpn_chanels=24)

    # Training

    @pytest.mark.parametrize("backbone", BACKBONES)
    def test_it_learns_and_detects_around_any_backbone(self, settings: DetectorSettings, backbone: str) -> None:
        detector = self.build(settings, BACKBONES[backbone]())
        assert all(value.isfinite() and value.dim() == 0 for value in self.losses(detector, BOXES, []).values())
        (found,) = detect(detector.eval(), pixels((64, 64)), CPU)
        assert len(found.boxes) > 0

    @pytest.mark.parametrize("boxes", [(BOXES, BOXES), (BOXES, []), ([], [])], ids=["all", "one-empty", "both-empty"])
    def test_every_parameter_learns(self, detector: Detector, boxes: tuple[list[list[float]], ...]) -> None:
        parts = self.losses(detector, *boxes)
        assert all(value.isfinite() for value in parts.values()), parts
        torch.stack(list(parts.values())).sum().backward()
        for name, parameter in detector.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name

    def test_of_a_supernet_the_active_path_and_all_else_learns(self, settings: DetectorSettings) -> None:
        supernet = Supernet(SPACE)
        detector = self.build(settings, supernet)
        supernet.activate(ARCHITECTURES[2])
        torch.stack(list(self.losses(detector, BOXES, []).values())).sum().backward()
        idle = tuple(
            f"backbone.body.blocks.{block}.ops.{op}."
            for block, active in enumerate(ARCHITECTURES[2].ops)
            for op in set(range(4)) - {active}
        )
        for name, parameter in detector.named_parameters():
            assert (parameter.grad is None) == name.startswith(idle), name

    @pytest.mark.learns
    def test_a_step_down_the_gradient_lowers_the_loss(self, detector: Detector) -> None:
        optimizer = torch.optim.SGD(detector.parameters(), lr=0.01)

        def loss() -> Tensor:
            return torch.stack(list(self.losses(detector, BOXES, BOXES[:1]).values())).sum()

        first = loss()
        for _ in range(20):  # after five FPN's loss is still close to the first
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
        assert loss() < first

    def test_labels_begin_where_the_spec_says(self, detector: Detector) -> None:
        """The last class has a label, and there is none behind it."""
        image, last = random_images((64, 64)), first_label(detector) + NUM_CLASSES - 1
        target = {"boxes": torch.tensor(BOXES), "labels": torch.full((3,), last)}
        assert all(value.isfinite() for value in detector.train()(image, [target]).values())
        with pytest.raises((IndexError, RuntimeError)):
            detector(image, [target | {"labels": torch.full((3,), last + 1)}])

    # Detecting

    def test_detections_are_in_the_pixels_of_each_image_best_first(self, detector: Detector) -> None:
        sizes = [(40, 60), (128, 96), (64, 64)]
        found_on_all = detect(detector.eval(), pixels(*sizes), CPU)
        assert len(found_on_all) == len(sizes)
        for found, (height, width) in zip(found_on_all, sizes, strict=True):
            assert found.boxes.shape == (len(found.scores), 4)
            assert 0 < len(found.scores) <= detector.transform.settings.detections
            assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (np.float32, np.float32, np.int64)
            assert (found.boxes >= 0).all() and (found.boxes <= [width, height, width, height]).all()
            assert (found.boxes[:, 2:] >= found.boxes[:, :2]).all()
            assert found.scores.min() >= 0 and found.scores.max() <= 1
            assert (np.diff(found.scores) <= 0).all()
            assert set(found.labels.tolist()) <= set(range(NUM_CLASSES))
        # Boxes reach beyond a small image's own size in the large one: they are not in the resized pixels.
        assert found_on_all[1].boxes[:, 3].max() > 96

    def test_nothing_found_is_no_error(self, settings: DetectorSettings) -> None:
        detector = self.build(settings.model_copy(update={"score_threshold": 1.0})).eval()
        (found,) = detect(detector, [torch.zeros(3, 64, 64, dtype=torch.uint8)], CPU)
        assert found.boxes.shape == (0, 4) and found.scores.shape == (0,) and found.labels.shape == (0,)

    def test_an_image_is_scored_the_same_alone_and_among_others(self, detector: Detector) -> None:
        images = pixels((64, 64), (64, 64), (64, 64))
        together = detect(detector.eval(), images, CPU)
        for image, found in zip(images, together, strict=True):
            (alone,) = detect(detector, [image], CPU)
            np.testing.assert_allclose(alone.scores, found.scores, rtol=1e-4, atol=1e-6)

    def test_an_extracted_detector_loads_into_one_built_from_scratch(self, settings: DetectorSettings) -> None:
        extracted = extract_subnet(self.build(settings, Supernet(SPACE)), ARCHITECTURES[3])
        built = self.build(settings, Subnet(SPACE, ARCHITECTURES[3]))
        built.load_state_dict(extracted.state_dict())  # strict: the same names and shapes
        images = pixels((64, 64))
        (first,), (second,) = detect(extracted.eval(), images, CPU), detect(built.eval(), images, CPU)
        np.testing.assert_array_equal(first.boxes, second.boxes)

    # Counting

    @pytest.mark.parametrize("norm", ["none", "batch", "group"])
    @pytest.mark.parametrize("head", [None, *HEAD_OPS])
    def test_its_cost_is_that_of_its_layers(self, settings: DetectorSettings, norm: str, head: HeadOp | None) -> None:
        # What a second stage costs is counted at the most proposals; there always is one.
        changes = {name: value for name, value in {"norm": norm, "proposals": 1}.items() if hasattr(settings, name)}
        if head:
            places = settings.head_channels
            ops = [[head if one == other or head != "skip" else "full" for one, other in tower] for tower in places]
            changes["head"] = tuple(map(tuple, ops))
        settings = settings.model_copy(update=changes)
        detector, network, image = self.build(settings), Subnet(SPACE, ARCHITECTURES[1]), (64, 96)
        parts = settings.whole_parts(dict(zip(network.strides, network.channels, strict=True)), NUM_CLASSES, image)
        cost = SPACE.cost(ARCHITECTURES[1], image) + parts.pyramid + parts.heads
        part = find_spec(detector).export(detector)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            part.network(torch.rand(1, 3, *image), *([torch.tensor(image)] if part.stages == 2 else []))
        assert cost.macs == counter.get_total_flops() / 2
        assert cost.params == sum(weights.numel() for weights in detector.parameters())

    def test_it_is_another_resolution_as_if_it_were_built_so(self, settings: DetectorSettings) -> None:
        changed, images = self.build(settings).eval(), random_images((64, 80), (70, 64))
        with torch.no_grad():
            changed(images)  # torchvision keeps what it computed of earlier images
            for side in (96, 48, settings.min_size):
                set_resolution(changed, settings.at(side))
                built = self.build(settings.at(side)).eval()
                built.load_state_dict(changed.state_dict())
                for ours, theirs in zip(changed(images), built(images), strict=True):
                    assert all(torch.equal(ours[name], theirs[name]) for name in ("boxes", "scores", "labels"))

    # Files

    def test_a_weights_file_gives_it_back(self, settings: DetectorSettings, tmp_path: Path) -> None:
        info = DetectorInfo(SPACE, ARCHITECTURES[1], settings, CATEGORIES, seed=7)
        torch.manual_seed(0)
        detector = info.build().eval()
        save_detector(tmp_path / "detector.safetensors", detector, info)
        loaded, its_info = load_detector(tmp_path / "detector.safetensors")
        assert its_info == info and type(loaded) is type(detector) and find_spec(loaded) is find_spec(detector)
        before, after = detector.state_dict(), loaded.state_dict()
        assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)

    def test_its_exported_part_and_the_postprocessing_detect_as_it_does(self, settings: DetectorSettings) -> None:
        few = settings.model_copy(update={"score_threshold": 0.05})
        detector = self.build(few).eval()
        spread_scores(detector)
        part = find_spec(detector).export(detector)
        about = {
            "detector": few.model_dump(mode="json"),
            "stages": part.stages,
            "unscaled_edge": few.unscaled_edge,
            **part.about,
        }
        for image in pixels((64, 96), (50, 60)):
            batch = prepare([image.permute(1, 2, 0).numpy()], about)
            with torch.no_grad():
                outputs = part.network(*(torch.from_numpy(x) for x in batch.inputs.values()))
            ((boxes, scores, labels),) = detections([output.numpy() for output in outputs], batch, about)
            (theirs,) = detect(detector, [image], CPU)
            difference = compare(Detections(boxes, scores, labels), theirs, few)
            assert difference.lone is None and difference.detections > 0


def spread_scores(detector: Detector) -> None:
    """Make scores lie far apart: BN with the statistics of noise, and large weights outside the backbone."""
    recalibrate(detector, [random_images((64, 96), (50, 60))])
    for name, module in detector.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and not name.startswith("backbone."):
            with torch.no_grad():
                nn.init.normal_(module.weight, std=1.5 / module.weight[0].numel() ** 0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class TestDetectors(DetectorContract):
    @pytest.fixture(params=SETTINGS)
    def settings(self, request: pytest.FixtureRequest) -> DetectorSettings:
        settings: DetectorSettings = SETTINGS[request.param]()
        return settings

    def test_no_detector_is_left_out(self) -> None:
        assert DETECTORS.keys() == SETTINGS.keys()
