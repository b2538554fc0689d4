"""Exported detectors evaluated on real images."""

import json
from collections.abc import Sequence
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor
from trees import TREES, train_on_trees, trees

import detnas
from detnas.data.images import Images
from detnas.evaluation.evaluate import evaluate, evaluate_detections
from detnas.exporting.onnx_model import ABOUT
from detnas.exporting.postprocess import detections, prepare
from detnas.models.detectors.detect import Detections
from detnas.models.weights import load_detector

FORMATS = ("onnx", "onnx-raw")


def detect_with(file: Path, images: Sequence[Tensor]) -> list[Detections]:
    """Run an exported file as its users would."""
    session = onnxruntime.InferenceSession(file)
    about = json.loads(session.get_modelmeta().custom_metadata_map[ABOUT])
    found = []
    for image in images:
        pixels = image.permute(1, 2, 0).numpy()
        if about["holds"] == "detector":
            boxes, scores, labels = session.run(None, {"image": pixels})
        else:
            batch = prepare([pixels], about)
            ((boxes, scores, labels),) = detections(session.run(None, batch.inputs), batch, about)
        found.append(Detections(boxes, scores, labels))
    return found


@pytest.mark.slow
@pytest.mark.learns
@pytest.mark.parametrize("kind", ["fpn", "retinanet"])
def test_exported_detectors_score_as_the_eager_one(kind: str, tmp_path: Path) -> None:
    data = trees()
    weights = train_on_trees(kind, tmp_path, steps=200)
    images = Images(data.files, cache_mb=100, sizes=data.sizes)
    detector, _ = load_detector(weights)
    # One at a time: in a batch of images of several sizes the smaller are padded, and other things are found on them.
    eager = evaluate(detector, data, images, batch_size=1, device=torch.device("cpu")).scores
    assert eager["mAP"] is not None and eager["mAP"] > 0.01  # or this compares nothing
    for format in FORMATS:
        file = detnas.export(weights, format, tmp_path / f"{format}.onnx", data=TREES)
        found = detect_with(file, [images[index] for index in range(len(data))])
        scores = evaluate_detections(data, range(len(data)), found).scores
        for name, score in eager.items():
            assert scores[name] == pytest.approx(score, abs=1e-3), name
