"""Recipes for tests of what is read and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from detnas.config import load_recipe
from detnas.utils.errors import UserError

TRAINING = {"steps": 100, "batch_size": 4, "lr": 0.1}

COMPLETE = """
name: complete
seed: 3
fitted_time: 600
device: cpu
workers: 2
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
  {name: tiny, width: 0.5, stem: null, channels: null, repeats: null, ops: [shuffle3, shuffle5, shuffle7, xception],
   resolutions: [], head_ops: []}
budget:
  {of: backbone, aspect_ratio: 1.5, classes: 7, size: 128,
   macs_min: 5M, macs_max: 0.02G, params_min: 10k, params_max: 500k,
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
  head: [[full, separable]]
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
  weights: null
  supernet: true
  folder: classes
  image_size: 64
  min_scale: 0.3
  head_channels: 128
  background: 0.1
  search_fraction: 0.3
init: fan_in
inherit: false
pretrain: &training
  steps: 100
  batch_size: 8
  optimizer: adamw
  lr: 1e-3
  momentum: 0.8
  weight_decay: 1.0e-2
  decay_norms: false
  backbone_lr_factor: 0.5
  frozen_norms: true
  frozen_stages: 2
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
supernet_pretrain: &supernet
  <<: *training
  frozen_norms: false
  frozen_stages: 0
  macs_bins: [5M, 0.01G, 20000000]
  paths: space
supernet_finetune: {<<: *supernet, macs_bins: null, paths: fair}
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
finals: {challengers: 4, incumbents: 1, rungs: [0.5, 1.0], certainty: 0.9}
finetune: {<<: *training, steps: 50, schedule: cosine}
baselines: [random]
"""

MINIMAL: dict[str, Any] = {
    "name": "minimal",
    "budget": {"of": "backbone"},
    "detector": {"type": "retinanet"},
    **dict.fromkeys(("supernet_pretrain", "supernet_finetune", "pretrain", "finetune"), TRAINING),
}


def dump(tree: Any) -> str:
    """YAML without aliases."""
    return yaml.safe_dump(json.loads(json.dumps(tree)))


def write_tree(file: Path, tree: Any) -> Path:
    file.write_text(dump(tree))
    return file


def refusal(recipe: str | Path, *changes: str) -> str:
    """The message of `load_recipe`, on its one line."""
    with pytest.raises(UserError) as caught:
        load_recipe(recipe, changes)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    return message
