"""Two processes (gloo, on the CPU) against one that does the same alone."""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import two_processes
from small_recipe import assert_same
from torch import nn
from two_processes import KINDS

from detnas.distributed import comm
from detnas.distributed.comm import ProcessLostError
from detnas.models.sync_batch_norm import SyncBatchNorm, convert_sync_batch_norm

Found = list[dict[str, Any]]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, blocks: Path) -> Found:
    """The results of two processes, by rank."""
    out = tmp_path_factory.mktemp("two") / "found"
    subprocess.run([sys.executable, two_processes.__file__, out, blocks], check=True, env=environment(), timeout=300)
    return [torch.load(out.with_name(f"found.{rank}"), weights_only=True) for rank in range(2)]


def environment() -> dict[str, str]:
    paths = [Path(two_processes.__file__).parents[1], Path(two_processes.__file__).parent]
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, paths))}


def assert_close(found: dict[str, Any], expected: dict[str, Any], tolerance: float) -> None:
    """Tensor by tensor, up to `tolerance` of its own largest value."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].shape == tensor.shape and found[name].dtype == tensor.dtype, name
        difference = (found[name].double() - tensor.double()).abs().max()
        assert difference <= tolerance * max(tensor.double().abs().max(), 1e-4), (name, difference)


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_step_as_one_does_with_the_whole_batch(kind: str, two: Found) -> None:
    """Gradients, clipped to a norm; figures; weights and BN statistics after the step. Their BN is synchronized."""
    alone = two_processes.stepped(kind, True, two_processes.settings())
    both = two[0]["steps"][kind]
    assert both["figures"] == pytest.approx(alone["figures"], rel=1e-6)
    assert all(one.abs().max() > 0 for name, one in alone["gradients"].items() if name.endswith("conv.weight"))
    norm = torch.stack([gradient.norm() for gradient in both["gradients"].values()]).norm()
    assert norm.item() == pytest.approx(0.01, rel=1e-3)
    assert_close(both["gradients"], alone["gradients"], 1e-5)
    assert_close(both["state"], alone["state"], 1e-5)


def test_anchors_are_fitted_by_the_main_process(two: Found, blocks: Path) -> None:
    assert two[0]["anchors"] == two[1]["anchors"] == two_processes.anchors(blocks)


def test_gradients_of_several_paths_are_summed_and_then_averaged(two: Found) -> None:
    assert_close(two[0]["summed paths"], two_processes.summed_paths(), 1e-4)


def test_without_synchronized_norms_each_process_normalizes_its_part(two: Found) -> None:
    """The gradients are other ones, but still the mean of what the processes have alone."""
    alone = two_processes.stepped("classifier", False, two_processes.settings())
    with pytest.raises(AssertionError):
        assert_close(two[0]["without sync_bn"]["gradients"], alone["gradients"], 1e-5)
    training = two_processes.settings(clip_norm=None)
    halves = []
    for half in (slice(0, 2), slice(2, 4)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(comm, "shard", lambda items, half=half: items[half])
            halves.append(two_processes.stepped("classifier", False, training))
    mean = {name: (g + halves[1]["gradients"][name]) / 2 for name, g in halves[0]["gradients"].items()}
    norm = torch.stack([gradient.norm() for gradient in mean.values()]).norm()
    clipped = {name: gradient * (0.01 / norm) for name, gradient in mean.items()}
    assert_close(two[0]["without sync_bn"]["gradients"], clipped, 1e-5)
    for name, tensor in two[0]["without sync_bn"]["state"].items():
        if "running" in name:
            expected = (halves[0]["state"][name] + halves[1]["state"][name]) / 2
            assert_close({name: tensor}, {name: expected}, 1e-5)


def test_after_a_step_all_processes_hold_the_same_bits(two: Found) -> None:
    assert set(two[0]["states"]) == {*KINDS, "without sync_bn"}
    assert two[0]["states"] == two[1]["states"]


def test_processes_out_of_step_are_noticed(two: Found) -> None:
    for found in two:
        assert "out of step" in found["out of step"]


def test_a_figure_that_is_not_finite_in_one_process_is_so_in_all(two: Found) -> None:
    assert all(found["not finite"] != found["not finite"] for found in two)


def test_the_parts_of_a_batch_make_the_batch(two: Found) -> None:
    joined = [first + second for first, second in zip(two[0]["keys"], two[1]["keys"], strict=True)]
    assert joined == two_processes.keys()
    assert {len(keys) for keys in two[0]["keys"] + two[1]["keys"]} == {3}


def test_messages_arrive(two: Found) -> None:
    for found in two:
        messages = found["messages"]
        assert messages["from main"] == {"rank": 0, "third": 1 / 3, "none": None}
        assert messages["nothing"] == "" and messages["gathered"] == ["", "ab"] and messages["sum"] == 3
        assert messages["of the main process"] == "no file in process 0"
        assert messages["of one"] == "no data in process 1"
        assert messages["of none"] is None and messages["same data"] is None and messages["even batches"] is None
        assert messages["other data"].startswith("data set: a on rank 0, b on rank 1")
        assert messages["batches"].startswith("pretrain.batch_size = 5: cannot be divided evenly among 2 processes")


@pytest.mark.parametrize("what", ["retinanet", "fpn", "mobile", "one batch"])
def test_an_evaluation_is_the_same_as_in_one_process(what: str, two: Found, blocks: Path) -> None:
    """Bit for bit, with recalibrated statistics; also if a process has no images to evaluate."""
    detector, images = ("retinanet", 3) if what == "one batch" else (what, 11)
    alone = two_processes.evaluate_candidates(detector, blocks, images)
    assert any(results for _, _, results in alone)
    assert_same(two[0]["evaluations"][what], alone)
    for (scores, per_class, results), (expected, by_class, _) in zip(two[1]["evaluations"][what], alone, strict=True):
        assert scores == expected and per_class == by_class and results == []


def test_an_accuracy_is_the_same_as_in_one_process(two: Found) -> None:
    alone = two_processes.accuracies()
    assert two[0]["accuracies"] == two[1]["accuracies"] == alone
    assert any(0 < scores["accuracy"] < 1 for scores in alone)


# In a single process


def test_alone_nothing_is_sent() -> None:
    assert not comm.is_launched_by_torchrun() and comm.world_size() == 1 and comm.is_main_process()
    value = object()  # which no message could hold
    assert comm.broadcast_from_main(lambda: value) is value
    assert comm.all_gather_bytes(b"a") == [b"a"] and comm.all_reduce_int(3) == 3
    assert list(comm.shard(range(5))) == [0, 1, 2, 3, 4] and comm.shard_indices(5, 2) == [0, 1, 2, 3, 4]
    with comm.process_group(), comm.raise_on_all_ranks():
        comm.check_same_on_all_ranks("device", "cpu")


@pytest.mark.parametrize(("count", "size", "batch_size"), [(2, 11, 4), (3, 8, 8), (3, 24, 2), (4, 0, 3)])
def test_shares_are_whole_batches_and_hold_everything_once(
    count: int, size: int, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comm, "world_size", lambda: count)
    shares = []
    for rank in range(count):
        monkeypatch.setattr(comm, "rank", lambda rank=rank: rank)
        shares.append(comm.shard_indices(size, batch_size))
    assert sorted(index for share in shares for index in share) == list(range(size))
    whole = [list(range(start, min(start + batch_size, size))) for start in range(0, size, batch_size)]
    cut = [share[start : start + batch_size] for share in shares for start in range(0, len(share), batch_size)]
    assert sorted(cut) == whole


@pytest.mark.parametrize("shape", [(4, 6, 5, 7), (2, 6, 1, 1)])
def test_synchronized_norms_of_one_process_are_batch_norms(shape: tuple[int, ...]) -> None:
    """Outputs, gradients and statistics, and the same state by the same names."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Identity(), nn.Sequential(nn.BatchNorm2d(6, eps=1e-3, momentum=0.3)))
    with torch.no_grad():
        model[1][0].weight.copy_(torch.rand(6, generator=generator))
        model[1][0].bias.copy_(torch.rand(6, generator=generator))
    twin = copy.deepcopy(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comm, "all_gather", lambda tensor: tensor[None])
        convert_sync_batch_norm(twin)
        assert type(twin[1][0]) is SyncBatchNorm
        for _ in range(2):
            x = (100 + 3 * torch.randn(shape, generator=generator)).requires_grad_()
            y = x.detach().clone().requires_grad_()
            weights = torch.randn(shape, generator=generator)
            for net, numbers in ((model, x), (twin, y)):
                net.zero_grad()
                (net(numbers) * weights).square().sum().backward()
            assert x.grad is not None and y.grad is not None
            torch.testing.assert_close(y.grad, x.grad, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(twin(y), model(x), rtol=1e-4, atol=1e-4)
            for one, other in zip(twin.parameters(), model.parameters(), strict=True):
                torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-3)
    assert_close(dict(twin.state_dict()), dict(model.state_dict()), 1e-5)
    model.eval(), twin.eval()
    with torch.no_grad():
        torch.testing.assert_close(twin(x), model(x))


def test_optimizers_and_recalibration_take_synchronized_norms_for_norms() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3))
    weight = model[0].weight
    convert_sync_batch_norm(model)
    assert isinstance(model[0], nn.BatchNorm2d) and model[0].weight is weight


def test_a_lost_process_is_said_in_one_line_with_the_command_that_continues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["detnas", "run", "shapes quick"])
    message = str(ProcessLostError("another process has ended"))
    assert "\n" not in message and message.startswith("another process has ended; ")
    assert message.endswith("-m detnas run 'shapes quick'")
