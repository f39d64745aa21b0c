"""Commands are recorded once and run in order, however they are enqueued."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest

from edgert.errors import DeviceError, DeviceMemoryError, KernelError
from edgert.kernels_gpu.context import Context
from edgert.kernels_gpu.launch import Command, commands_of, pack_params
from edgert.kernels_gpu.memory import Mirror
from edgert.kernels_gpu.programs import Programs
from edgert.kernels_gpu.replay import Enqueuer
from edgert.kernels_gpu.sequence import FORMS, Sequence, record
from edgert.kernels_gpu.table import Grid, Twin, case_of, flat, twins


def fills(context: Context, programs: Programs, mirror: Mirror) -> list[Command]:
    """Each overwrites the end of the one before."""
    twin, commands = twins()["fill_row"], []
    for i in range(20):
        params = {"nbytes": 4 * (20 - i), "pattern": i}
        case = case_of(twin, params, {"y": 4}, context.device.capabilities, False)
        commands += commands_of(programs, twin, case, {"y": mirror.place(4 * i, 4 * (20 - i))})
    return commands


@pytest.mark.parametrize("form", FORMS)
def test_commands_run_in_order(context: Context, programs: Programs, enqueuer: Enqueuer, form: str) -> None:
    if form == "command buffer" and not context.device.capabilities.command_buffer:
        pytest.skip(f"{context.device.name} has no cl_khr_command_buffer")
    mirror = Mirror(context, 80, "numbers")
    sequence = Sequence(context, fills(context, programs, mirror), form, enqueuer)
    gc.collect()  # what it needs, it keeps
    for _ in range(3):
        mirror.to_host([(0, 80)])
        mirror.host[:80] = 255
        mirror.to_device([(0, 80)])
        sequence.enqueue()
        mirror.to_host([(0, 80)])
        np.testing.assert_array_equal(mirror.host[:80].view(np.int32), np.arange(20))
    mirror.to_device([])


def test_times_of_commands(context: Context, programs: Programs) -> None:
    mirror = Mirror(context, 80, "numbers")
    commands = fills(context, programs, mirror)
    times = Sequence(context, commands).profile()
    assert len(times) == len(commands) and all(0 <= us < 1e6 for us in times)
    mirror.to_host([(0, 80)])
    np.testing.assert_array_equal(mirror.host[:80].view(np.int32), np.arange(20))
    mirror.to_device([])


@pytest.mark.parametrize("form", FORMS)
def test_no_commands(context: Context, enqueuer: Enqueuer, form: str) -> None:
    sequence = record(context, [], form, enqueuer)
    sequence.enqueue()
    assert sequence.profile() == []


LOOPS = ("native", "python")


@pytest.mark.parametrize("form", LOOPS)
def test_many_commands(context: Context, programs: Programs, enqueuer: Enqueuer, form: str) -> None:
    mirror = Mirror(context, 80, "numbers")
    sequence = Sequence(context, fills(context, programs, mirror) * 150, form, enqueuer)
    sequence.enqueue()
    mirror.to_host([(0, 80)])
    np.testing.assert_array_equal(mirror.host[:80].view(np.int32), np.arange(20))
    mirror.to_device([])


@pytest.mark.parametrize("form", LOOPS)
def test_what_the_driver_refuses_is_named(context: Context, programs: Programs, enqueuer: Enqueuer, form: str) -> None:
    """A group that does not fit: those before it run, nothing after it, and the queue lives on."""
    mirror = Mirror(context, 80, "numbers")
    commands = fills(context, programs, mirror)
    wrong = (2 * context.device.capabilities.work_group,)
    broken = [*commands[:7], replace(commands[7], items=wrong, group=wrong), *commands[8:]]
    mirror.to_host([(0, 80)])
    mirror.host[:80] = 255
    mirror.to_device([(0, 80)])
    refused = r"while fill_row, command 8 of 20, was enqueued: clEnqueueNDRangeKernel failed: INVALID_WORK_\w+_SIZE"
    with pytest.raises(DeviceError, match=refused):
        Sequence(context, broken, form, enqueuer).enqueue()
    mirror.to_host([(0, 80)])
    np.testing.assert_array_equal(mirror.host[:80].view(np.int32), [0, 1, 2, 3, 4, 5, *[6] * 14])
    mirror.to_device([])
    Sequence(context, commands, form, enqueuer).enqueue()
    context.finish()


@pytest.mark.parametrize("form", LOOPS)
def test_codes_are_the_same_errors_whoever_meets_them(
    context: Context, programs: Programs, enqueuer: Enqueuer, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = Mirror(context, 80, "numbers")
    sequence = Sequence(context, fills(context, programs, mirror)[:3], form, enqueuer)
    for code, kind, text in (
        (-4, DeviceMemoryError, "has too little memory while fill_row, command 2 of 3, was enqueued"),
        (-2, DeviceError, "was lost while fill_row, command 2 of 3, was enqueued"),
        (-12345, DeviceError, "refused while fill_row, command 2 of 3, was enqueued: .*-12345"),
    ):
        if form == "native":
            monkeypatch.setattr(sequence, "_replay", lambda code=code: (1, code))
        else:
            monkeypatch.setattr(sequence, "context", Refusing(context, code))
        with pytest.raises(kind, match=text):
            sequence.enqueue()


class Refusing:
    """A context whose second command in a row is refused."""

    def __init__(self, context: Context, code: int) -> None:
        self.device, self.queue, self.cl = context.device, context.queue, self
        self.Error, self._code, self._calls = context.cl.Error, code, 0

    def check_process(self) -> None:
        pass

    def enqueue_nd_range_kernel(self, *_: object) -> None:
        self._calls += 1
        if self._calls == 2:
            raise type("Failed", (self.Error,), {"code": self._code})(f"failed: {self._code}")


def test_a_forked_child_is_told(context: Context, programs: Programs, enqueuer: Enqueuer) -> None:
    mirror = Mirror(context, 80, "numbers")
    sequence = Sequence(context, fills(context, programs, mirror), enqueuer=enqueuer)
    other = Context.__new__(Context)
    other.__dict__ |= {**context.__dict__, "_process": -1}
    sequence.context = other
    with pytest.raises(DeviceError, match="in use by the process that this one was forked from"):
        sequence.enqueue()


def test_the_native_form_wants_the_loop(context: Context) -> None:
    assert Sequence(context, []).form == "python"
    with pytest.raises(ValueError, match="native"):
        Sequence(context, [], "native")


def test_a_library_without_the_loop() -> None:
    class Older:
        def prepare(self, names: object) -> None:
            raise KernelError(f"it lacks {names}")

    with pytest.raises(KernelError, match=r"it lacks .*enqueue_commands"):
        Enqueuer(Older())  # type: ignore[arg-type]


def test_a_group_that_the_device_does_not_allow(context: Context, programs: Programs) -> None:
    twin = Twin("fill_row", lambda case: flat(4, 1 << 20))
    case = case_of(twin, {"nbytes": 4, "pattern": 0}, {"y": 4}, context.device.capabilities, False)
    mirror = Mirror(context, 80, "numbers")
    with pytest.raises(DeviceError, match=r"fill_row needs groups of 1048576; .* --device cpu"):
        commands_of(programs, twin, case, {"y": mirror.place(0, 4)})


def test_params_are_the_bits_of_the_record() -> None:
    assert pack_params([1, -1, 1.0]) == bytes.fromhex("01000000 ffffffff 0000803f")
    assert pack_params([]) == bytes(4)


@pytest.mark.parametrize(("items", "rounded"), [((1,), (64,)), ((64,), (64,)), ((65,), (128,)), ((0,), (64,))])
def test_whole_groups(items: tuple[int, ...], rounded: tuple[int, ...]) -> None:
    assert Grid(items, (64,)).rounded == rounded
