"""The table of the published networks."""

from collections.abc import Iterator

from detnas.models.resnet import ResNet
from detnas.spaces import Cost
from detnas.spaces.published import PUBLISHED, RESNETS

HEADER = ("name", "space", "architecture", "MACs at 224", "params", "published as")


def describe() -> Iterator[str]:
    """Human-readable lines in columns, one per network. Costs are those of the backbone alone."""
    rows = [HEADER]
    for name, network in PUBLISHED.items():
        cost = network.space.cost(network.architecture)
        source = f"{network.source}; {network.note}" if network.note else network.source
        rows.append((name, network.space.name, str(network.architecture), *_format_cost(cost), source))
    for name, source in RESNETS.items():
        rows.append((name, "-", "-", *_format_cost(ResNet(name).cost()), source))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _format_cost(cost: Cost) -> tuple[str, str]:
    return f"{cost.macs / 1e6:.1f}M", f"{cost.params / 1e6:.2f}M"
