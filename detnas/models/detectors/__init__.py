"""Detectors around a backbone.

To add one, write a module with its `DetectorSpec`, and add a line here. `tests/contracts/test_detector_contract.py`
tests it.
"""

from detnas.models.detectors.fpn import FPN
from detnas.models.detectors.retinanet import RETINANET
from detnas.models.detectors.spec import DetectorSpec

DETECTORS: dict[str, DetectorSpec] = {"fpn": FPN, "retinanet": RETINANET}
"""By the name that `detector.type` gives them."""
