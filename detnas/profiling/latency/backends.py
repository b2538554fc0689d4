"""The backends that run networks for latency measurements: eager PyTorch, or ONNX Runtime on the CPU."""

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from detnas.distributed.device import device_name
from detnas.exporting.detectors import FromPixels, whole_model
from detnas.exporting.onnx_model import onnx_model
from detnas.models.detectors.spec import Detector
from detnas.spaces.latency import BackendName

MIN_ROUNDS, MAX_ROUNDS, MAX_SECONDS = 5, 51, 20
"""The least and the most rounds of a median. After `MAX_SECONDS` no further round starts, once there are the least."""

Runner = Callable[..., Any]
"""A forward pass of a network, or of a part of one, from its inputs to its (first) output."""


class Backend(ABC):
    """Runs networks and measures time. The type of inputs and outputs is the backend's own."""

    name: BackendName
    device: torch.device
    """The torch device of the networks to load and of their example inputs."""

    def __init__(self) -> None:
        self.threads = torch.get_num_threads()

    @abstractmethod
    def load(self, network: nn.Module, *examples: Tensor, copies: int = 1) -> list[Runner]:
        """`copies` of a network in evaluation mode, each with its own weights in memory, for inputs like `examples`."""

    @abstractmethod
    def load_detector(self, detector: Detector) -> Runner:
        """A whole detector as users run it, for images (height, width, 3) uint8."""

    @abstractmethod
    def prepare_input(self, images: Tensor) -> Any:
        """`images` as the input of a runner."""

    def timestamp(self) -> Any:
        """The current time of the backend's clock, here that of the CPU."""
        return time.perf_counter()

    def elapsed_us(self, timestamps: Sequence[Any]) -> list[float]:
        """Microseconds between consecutive timestamps."""
        return [1e6 * (after - before) for before, after in pairwise(timestamps)]


class Eager(Backend):
    """PyTorch without a compiler, in the detectors' memory format (channels last)."""

    name = "eager"

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def load(self, network: nn.Module, *examples: Tensor, copies: int = 1) -> list[Runner]:
        converted = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return [copy.deepcopy(converted) for _ in range(copies)]

    def load_detector(self, detector: Detector) -> Runner:
        return self.load(FromPixels(detector))[0]

    def prepare_input(self, images: Tensor) -> Tensor:
        return images

    def timestamp(self) -> Any:
        if self.device.type == "cpu":
            return super().timestamp()
        # An event on the GPU's clock: synchronizing between blocks would cost time that a network does not take.
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def elapsed_us(self, timestamps: Sequence[Any]) -> list[float]:
        if self.device.type == "cpu":
            return super().elapsed_us(timestamps)
        torch.cuda.synchronize()
        return [1e3 * before.elapsed_time(after) for before, after in pairwise(timestamps)]


class OnnxRuntime(Backend):
    """ONNX Runtime on the CPU. All loaded models share one memory arena, as the parts of one network would."""

    name = "onnxruntime"
    device = torch.device("cpu")

    def __init__(self) -> None:
        import onnxruntime as ort

        super().__init__()
        self.runtime = ort
        memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
        ort.create_and_register_allocator(memory, None)

    def load(self, network: nn.Module, *examples: Tensor, copies: int = 1) -> list[Runner]:
        model = onnx_model(network, examples)
        return [self._open(model) for _ in range(copies)]

    def load_detector(self, detector: Detector) -> Runner:
        return self._open(whole_model(detector))

    def _open(self, model: bytes) -> Runner:
        options = self.runtime.SessionOptions()
        options.log_severity_level = 3  # errors only
        options.intra_op_num_threads = self.threads
        # Every model has its own threads; those of a model that has run must not spin while the next model runs.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.add_session_config_entry("session.use_env_allocators", "1")
        session = self.runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_inputs()]
        return lambda *inputs: session.run_with_ort_values(None, dict(zip(names, inputs, strict=True)))[0]

    def prepare_input(self, images: Tensor) -> Any:
        return self.runtime.OrtValue.ortvalue_from_numpy(images.numpy())


def time_parts(backend: Backend, parts: Sequence[Runner], x: Any) -> list[float]:
    """Microseconds of each of `parts`, which run in sequence, each on the output of the one before it."""
    timestamps = [backend.timestamp()]
    for part in parts:
        x = part(x)
        timestamps.append(backend.timestamp())
    return backend.elapsed_us(timestamps)


def rounds() -> Iterator[bool]:
    """Yields for each round whether it is measured. The first is not: it is for warm-up."""
    yield False
    started = time.monotonic()
    for index in range(MAX_ROUNDS):
        if index >= MIN_ROUNDS and time.monotonic() > started + MAX_SECONDS:
            return
        yield True


def describe_device(device: torch.device, threads: int) -> str:
    """The human-readable name of a device, and the number of threads if it is a CPU."""
    suffix = f", {threads} thread{'s' if threads > 1 else ''}" if device.type == "cpu" else ""
    return f"{device_name(device)}{suffix}"
