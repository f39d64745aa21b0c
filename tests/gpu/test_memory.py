"""Memory of a device: shared with the host or copied by ranges, weights placed once, and too little of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgert.errors import DeviceMemoryError
from edgert.kernels_gpu import memory as module
from edgert.kernels_gpu.context import Context
from edgert.kernels_gpu.launch import Place, commands_of
from edgert.kernels_gpu.memory import AROUND, PAGE, Mirror, Weights, require
from edgert.kernels_gpu.programs import Programs
from edgert.kernels_gpu.sequence import Sequence
from edgert.kernels_gpu.table import case_of, twins


def on(context: Context, **capabilities: object) -> Context:
    """The same context on a device that says otherwise of itself."""
    other = Context.__new__(Context)
    can = replace(context.device.capabilities, **capabilities)
    other.__dict__ |= {**context.__dict__, "device": replace(context.device, capabilities=can)}
    return other


def fill(context: Context, programs: Programs, place: Place, pattern: int) -> None:
    """Has the device write four bytes over and over."""
    twin = twins()["fill_row"]
    params = {"nbytes": place.nbytes, "pattern": pattern}
    case = case_of(twin, params, {"y": place.nbytes}, context.device.capabilities, False)
    Sequence(context, commands_of(programs, twin, case, {"y": place})).enqueue()


@pytest.mark.parametrize("unified", [True, False])
def test_a_segment_changes_hands(context: Context, programs: Programs, unified: bool) -> None:
    here = on(context, unified=unified)
    mirror = Mirror(here, 1000, "a segment")
    assert mirror.host.ctypes.data % PAGE == 0 and mirror.host.size == PAGE and not mirror.host.any()
    address = mirror.host.ctypes.data
    mirror.to_host([(0, 1000)])
    mirror.host[:1000] = 5
    mirror.to_device([(0, 1000)])
    fill(here, programs, mirror.place(100, 50), 0x01010101)
    mirror.to_host([(0, 1000)])
    assert (mirror.host[:100] == 5).all() and (mirror.host[100:150] == 1).all() and (mirror.host[150:1000] == 5).all()
    mirror.to_device([])
    fill(here, programs, mirror.place(0, 1000), 0x02020202)
    mirror.to_host([(10, 20), (500, 600)])
    assert (mirror.host[10:20] == 2).all() and (mirror.host[500:600] == 2).all()
    if not unified:
        assert (mirror.host[600:1000] == 5).all(), "what nobody asked for was copied"
    assert mirror.host.ctypes.data == address
    mirror.to_device([])


@pytest.mark.parametrize("in_place", [True, False])
def test_weights_are_placed_once(context: Context, in_place: bool, rng: np.random.Generator) -> None:
    kind = replace(context.device, kind="CPU" if in_place else "GPU")
    here = on(context, unified=True)
    here.device = replace(here.device, kind=kind.kind)
    weights = Weights(here)
    arrays = [rng.integers(0, 256, n).astype(np.uint8) for n in (1000, 0, 1, 64)] + [rng.random(33)]
    places = weights.places(arrays)
    assert weights.copied == (0 if in_place else sum(a.nbytes for a in arrays))
    for array, place in zip(arrays, places, strict=True):
        assert place.nbytes == array.nbytes
        if array.nbytes:
            back = np.empty_like(array)
            here.cl.enqueue_copy(here.queue, back, place.buffer, src_offset=place.offset)
            np.testing.assert_array_equal(back, array)
    more = weights.places([*arrays, np.arange(10)])
    assert more[:-1] == places
    if not in_place:
        assert all(place.offset >= AROUND and place.offset % 64 == 0 for place in places)
        assert len({place.buffer.int_ptr for place in places}) == 1, "they are put together"


def test_several_buffers_where_one_may_not_be_as_large(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    here = on(context, unified=False, max_allocation=8192)
    weights = Weights(here)
    arrays = [np.full(3000, i, np.uint8) for i in range(4)]
    places = weights.places(arrays)
    assert len({place.buffer.int_ptr for place in places}) == 2
    for array, place in zip(arrays, places, strict=True):
        back = np.empty_like(array)
        here.cl.enqueue_copy(here.queue, back, place.buffer, src_offset=place.offset)
        np.testing.assert_array_equal(back, array)
        assert place.buffer.size <= 8192
    with pytest.raises(DeviceMemoryError, match=r"one weight takes .* in one piece; convert with fewer bits"):
        weights.places([np.zeros(8000, np.uint8)])


def test_too_little_memory_is_said_before_it_is_taken(context: Context) -> None:
    small = on(context, global_memory=10 << 20, max_allocation=4 << 20)
    with pytest.raises(DeviceMemoryError, match=r"the plan takes 11\.0 MB on .*, which has 10\.0 MB"):
        require(small, 11 << 20, "the plan")
    with pytest.raises(DeviceMemoryError, match=r"the arena takes 5\.0 MB in one piece; .* allows 4\.0 MB"):
        Mirror(small, 5 << 20, "the arena")
    require(small, 10 << 20, "the plan")


def test_a_driver_that_gives_no_memory(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    here = on(context, unified=False)

    def refuse(*args: object) -> None:
        raise error

    try:
        here.cl.Buffer(here.handle, here.cl.mem_flags.READ_WRITE, 0)
    except here.cl.Error as found:
        error = found
    monkeypatch.setattr(here.cl, "Buffer", refuse)
    with pytest.raises(DeviceMemoryError, match="too little memory while the arena"):
        Mirror(here, 1000, "the arena")
    assert module.BUFFER == 1 << 30


def test_what_the_host_has_is_not_mapped_again(context: Context, programs: Programs) -> None:
    here = on(context, unified=True)
    mirror = Mirror(here, 1000, "a segment")
    for _ in range(3):
        mirror.to_host([(0, 100), (200, 300)])
        mirror.to_host([(0, 100), (10, 20)])
        assert len(mirror._mapped) == 2
        mirror.host[:100] = 7
        mirror.to_host([(50, 250)])
        assert [(start, stop) for start, stop, _ in mirror._mapped] == [(0, 300)]
        assert (mirror.host[:100] == 7).all()
        mirror.to_device([])
        assert not mirror._mapped
        fill(here, programs, mirror.place(0, 1000), 0)
    mirror.to_host([(0, 1000)])
    assert not mirror.host.any()
