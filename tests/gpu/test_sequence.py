"""Commands are recorded once and run in order, however they are enqueued."""

from __future__ import annotations

import numpy as np
import pytest

from edgert.errors import DeviceError
from edgert.kernels_gpu.context import Context
from edgert.kernels_gpu.launch import Command, commands_of, pack_params
from edgert.kernels_gpu.memory import Mirror
from edgert.kernels_gpu.programs import Programs
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
def test_commands_run_in_order(context: Context, programs: Programs, form: str) -> None:
    if form == "command buffer" and not context.device.capabilities.command_buffer:
        pytest.skip(f"{context.device.name} has no cl_khr_command_buffer")
    mirror = Mirror(context, 80, "numbers")
    sequence = Sequence(context, fills(context, programs, mirror), form)
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
def test_no_commands(context: Context, form: str) -> None:
    sequence = record(context, [], form)
    sequence.enqueue()
    assert sequence.profile() == []


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
