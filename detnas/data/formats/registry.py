"""The data set formats."""

from typing import Any

from detnas.data.formats.base import DatasetFormat
from detnas.data.formats.coco.format import CocoFormat
from detnas.data.formats.voc.format import VocFormat
from detnas.data.formats.yolo.format import YoloFormat

FORMATS: dict[str, DatasetFormat[Any]] = {"COCO": CocoFormat(), "YOLO": YoloFormat(), "VOC": VocFormat()}
"""By name, in order of precedence: where a folder holds data of several, the first with a training set is taken."""
