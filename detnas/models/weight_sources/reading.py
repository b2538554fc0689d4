"""Reading learned weights by name or from a file, whatever its kind."""

from pathlib import Path

from detnas.config.pretraining import SHIPPED_WEIGHTS
from detnas.models.backbone import find_backbone
from detnas.models.official import STEM, holds_supernet, read_official
from detnas.models.state_dicts import file_digest, read_state_dict
from detnas.models.supernet import Supernet
from detnas.models.weight_sources.efficientnet_lite import EfficientNetLite, read_shipped
from detnas.models.weight_sources.efficientnet_lite_names import find_convention
from detnas.models.weight_sources.spec import WeightSource
from detnas.models.weight_sources.trained_supernet import TrainedSupernet
from detnas.models.weights import is_weights_file, load_weights
from detnas.spaces import SearchSpace
from detnas.utils.errors import UserError

REMEDY = (
    f"name {' or '.join(SHIPPED_WEIGHTS)}, the directory of a run, a weights file of a supernet, the checkpoint of an "
    "official supernet, or the weights of an EfficientNet-Lite"
)


def read_weights(where: str, space: SearchSpace) -> WeightSource:
    """The learned weights in `SHIPPED_WEIGHTS` or in a file, for the networks of `space`.

    Raises `UserError` if there is no such file, if it cannot be read as data, or if its weights do not fit.
    """
    if where in SHIPPED_WEIGHTS:
        source: WeightSource = read_shipped(space)
    else:
        source = _read_file(Path(where), space)
    source.check(space)
    return source


def _read_file(path: Path, space: SearchSpace) -> WeightSource:
    try:
        digest = file_digest(path)
    except OSError as error:
        raise UserError(f"pretraining.weights {path}: cannot be read ({error.strerror or error}); {REMEDY}") from None
    if is_weights_file(path):
        model, info = load_weights(path, space.ops)
        supernet = find_backbone(model)
        if not isinstance(supernet, Supernet):
            raise _single_network(path)
        return TrainedSupernet(supernet, info.preprocessing, str(path), digest)
    tensors = read_state_dict(path)
    if find_convention(tensors):
        return EfficientNetLite(tensors, space, str(path), digest)
    if any(name.endswith(STEM) for name in tensors):
        if not holds_supernet(tensors):
            raise _single_network(path)
        official = read_official(tensors, space, where=f"pretraining.weights {path}")
        supernet = find_backbone(official.model)
        assert isinstance(supernet, Supernet)  # named by its space
        return TrainedSupernet(supernet, official.info.preprocessing, str(path), digest)
    raise UserError(f"pretraining.weights {path}: holds no weights of a kind that is known; {REMEDY}")


def _single_network(path: Path) -> UserError:
    return UserError(f"pretraining.weights {path}: holds a single network; {REMEDY}")
