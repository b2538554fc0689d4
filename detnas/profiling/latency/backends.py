"""What computes networks while they are timed: PyTorch as it is, or ONNX Runtime on the CPU."""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from detnas.distributed.device import device_name
from detnas.exporting.onnx_model import onnx_model
from detnas.spaces.latency import BackendName

LEAST_ROUNDS, MOST_ROUNDS, ROUNDS_SECONDS = 5, 51, 20
"""Every median is over at least and at most so many rounds; none begins after so many seconds but the least."""

Run = Callable[[Any], Any]
"""One pass of a network, or of a part of one, from its input to its (first) output."""


class Backend(Protocol):
    """Holds networks and tells the time. Inputs and outputs are of a type of its own."""

    name: BackendName
    device: torch.device
    """Where the networks that it loads, and their examples, lie in PyTorch."""
    threads: int

    def load(self, network: nn.Module, example: Tensor, copies: int = 1) -> list[Run]:
        """`copies` of a network in evaluation mode, each with weights in memory of its own, for inputs as `example`."""
        ...

    def input(self, images: Tensor) -> Any: ...

    def stamp(self) -> Any:
        """The time now, of this backend's clock."""
        ...

    def microseconds(self, stamps: Sequence[Any]) -> list[float]:
        """From each of the stamps to the next."""
        ...


class Eager:
    """PyTorch without a compiler, in the detectors' memory layout."""

    name: BackendName = "eager"

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.threads = torch.get_num_threads()

    def load(self, network: nn.Module, example: Tensor, copies: int = 1) -> list[Run]:
        laid_out = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return [copy.deepcopy(laid_out) for _ in range(copies)]

    def input(self, images: Tensor) -> Tensor:
        return images

    def stamp(self) -> Any:
        if self.device.type == "cpu":
            return time.perf_counter()
        # The GPU's own clock: to wait for it between two blocks would cost what a network does not.
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def microseconds(self, stamps: Sequence[Any]) -> list[float]:
        if self.device.type == "cpu":
            return _differences(stamps)
        torch.cuda.synchronize()
        return [1e3 * before.elapsed_time(after) for before, after in pairwise(stamps)]


class OnnxRuntime:
    """ONNX Runtime on the CPU. All that it loads shares one pool of memory, as one network would."""

    name: BackendName = "onnxruntime"
    device = torch.device("cpu")

    def __init__(self) -> None:
        import onnxruntime

        self.runtime = onnxruntime
        self.threads = torch.get_num_threads()
        memory = onnxruntime.OrtMemoryInfo(
            "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
        )
        onnxruntime.create_and_register_allocator(memory, None)

    def load(self, network: nn.Module, example: Tensor, copies: int = 1) -> list[Run]:
        model = onnx_model(network, (example,))
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        # Every model has threads of its own; those that have just run must not spin while the next one runs.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.add_session_config_entry("session.use_env_allocators", "1")
        return [self._run(model, options) for _ in range(copies)]

    def _run(self, model: bytes, options: Any) -> Run:
        session = self.runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        return lambda x: session.run_with_ort_values(None, {given.name: x})[0]

    def input(self, images: Tensor) -> Any:
        return self.runtime.OrtValue.ortvalue_from_numpy(images.numpy())

    def stamp(self) -> float:
        return time.perf_counter()

    def microseconds(self, stamps: Sequence[float]) -> list[float]:
        return _differences(stamps)


def lap(backend: Backend, parts: Sequence[Run], x: Any) -> list[float]:
    """Microseconds of each of `parts`, run one after the other, each on the output of the one before it."""
    stamps = [backend.stamp()]
    for part in parts:
        x = part(x)
        stamps.append(backend.stamp())
    return backend.microseconds(stamps)


def rounds() -> Iterator[bool]:
    """Whether each round counts. The first does not: it warms up."""
    yield False
    began = time.monotonic()
    for number in range(MOST_ROUNDS):
        if number >= LEAST_ROUNDS and time.monotonic() > began + ROUNDS_SECONDS:
            return
        yield True


def named(backend: Backend) -> str:
    """The backend's device and threads, for people."""
    threads = f", {backend.threads} thread{'s' if backend.threads > 1 else ''}" if backend.device.type == "cpu" else ""
    return f"{device_name(backend.device)}{threads}"


def _differences(seconds: Sequence[float]) -> list[float]:
    return [1e6 * (after - before) for before, after in pairwise(seconds)]
