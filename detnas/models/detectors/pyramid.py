"""What detectors with a feature pyramid share: the pyramid, the anchors of its levels, the norm layer."""

from collections.abc import Callable

from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork

from detnas.config import DetectorSettings
from detnas.config.detector import Norm
from detnas.models.backbone import Backbone
from detnas.models.detectors.geometry import CellAnchors
from detnas.utils.errors import UserError


class PyramidBackbone(nn.Module):
    """A backbone with a feature pyramid, as torchvision's detectors want it: images (N, 3, H, W) -> maps of
    `out_channels` channels, by name, finest first."""

    def __init__(self, body: Backbone, pyramid: FeaturePyramidNetwork, strides: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.body = body
        self.pyramid = pyramid
        self.strides = strides
        self.out_channels = channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = zip(self.body.strides, self.body(images), strict=True)
        pyramid: dict[str, Tensor] = self.pyramid({str(stride): x for stride, x in maps if stride in self.strides})
        return pyramid


def build_pyramid(
    backbone: Backbone, settings: DetectorSettings, norm: Norm, extra: nn.Module | None = None
) -> PyramidBackbone:
    """`backbone` with a pyramid on its maps of `settings.strides`, and with the levels that `extra` adds.
    Raises `UserError` if the backbone has no map of one of these strides."""
    channels = dict(zip(backbone.strides, backbone.channels, strict=True))
    if not channels.keys() >= set(settings.strides):
        raise UserError(f"detector.strides {list(settings.strides)}: the backbone has maps of {backbone.strides} only")
    widths = [channels[stride] for stride in settings.strides]
    pyramid = FeaturePyramidNetwork(widths, settings.fpn_channels, extra_blocks=extra, norm_layer=norm_layer(norm))
    return PyramidBackbone(backbone, pyramid, settings.strides, settings.fpn_channels)


def build_anchors(settings: DetectorSettings, scales: tuple[float, ...] = (1.0,)) -> AnchorGenerator:
    """The anchors of each pyramid level: `settings.anchor_sizes` times each of `scales`, at every ratio.
    Raises `UserError` if the sizes are `auto`."""
    if settings.anchor_sizes == "auto":
        raise UserError(
            "detector.anchor_sizes = 'auto': only a run chooses sizes, by its training images; give a list of "
            f"{settings.pyramid_levels} sizes"
        )
    sizes = tuple(tuple(size * scale for scale in scales) for size in settings.anchor_sizes)
    if settings.geometry == "torchvision":
        return AnchorGenerator(sizes, (settings.anchor_ratios,) * len(sizes))
    return CellAnchors(sizes, settings.anchor_ratios, settings.level_strides)


def norm_layer(norm: Norm) -> Callable[..., nn.Module] | None:
    """Makes the normalization of so many channels: "batch", "group" (32 groups at the usual 256), or "none"."""
    if norm == "none":
        return None
    return nn.BatchNorm2d if norm == "batch" else lambda channels: nn.GroupNorm(channels // 8, channels)
