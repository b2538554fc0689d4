"""Neural architecture search for object detectors.

import detnas
run = detnas.run("shapes-quick", out="runs/x")           # the whole pipeline; returns the run directory
space = detnas.search_space("small")
arch = detnas.Architecture.parse("2120 2112 33130031 3132")
net = detnas.create_backbone(arch, space)                # images (N, 3, H, W) -> 4 feature maps, strides 4 to 32
det = detnas.create_detector("fpn", net, num_classes=80)  # a torchvision detector
detnas.export(run / "detector.safetensors", "onnx")      # checked against the eager model
best = detnas.search(my_fitness, space, out="searched")  # my_fitness: any function of an architecture
"""

from typing import TYPE_CHECKING, Any

from detnas.version import __version__

if TYPE_CHECKING:
    from detnas.exporting.export import export
    from detnas.models.create import create_backbone, create_detector
    from detnas.models.official import import_official
    from detnas.models.ops.custom import CustomOp
    from detnas.run.pipeline import run
    from detnas.search.api import search
    from detnas.search.evaluators.custom import Candidate
    from detnas.spaces import Architecture, Budget, SearchSpace, search_space
    from detnas.utils.errors import UserError

__all__ = [
    "Architecture",
    "Budget",
    "Candidate",
    "CustomOp",
    "SearchSpace",
    "UserError",
    "__version__",
    "create_backbone",
    "create_detector",
    "export",
    "import_official",
    "run",
    "search",
    "search_space",
]

_MODULES = {
    "Architecture": "detnas.spaces",
    "Budget": "detnas.spaces",
    "Candidate": "detnas.search.evaluators.custom",
    "CustomOp": "detnas.models.ops.custom",
    "SearchSpace": "detnas.spaces",
    "UserError": "detnas.utils.errors",
    "create_backbone": "detnas.models.create",
    "create_detector": "detnas.models.create",
    "export": "detnas.exporting.export",
    "import_official": "detnas.models.official",
    "run": "detnas.run",
    "search": "detnas.search",
    "search_space": "detnas.spaces",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that `detnas --help` does not wait for torch."""
    if name not in _MODULES:
        raise AttributeError(f"module 'detnas' has no attribute {name!r}")
    import importlib

    module = importlib.import_module(_MODULES[name])
    return module if module.__name__ == f"detnas.{name}" else getattr(module, name)  # `run` is a callable package
