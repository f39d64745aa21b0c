"""Structured damage to model files: one field of an ONNX or TFLite file gets another value, or bytes of it do.
Everything follows from a seed, so that a failure can be made again."""

from __future__ import annotations

import random
from typing import Any

import onnx
from ai_edge_litert import schema_py_generated as schema
from flat_model import pack

INTEGERS = (0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, -(2**31), 2**31, 2**32 - 1, 2**62, -(2**63))
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, -1e38, float("inf"), float("-inf"), float("nan"))


def mutated(content: bytes, kind: str, seed: int) -> bytes:
    """`content`, a file of `kind` 'onnx' or 'tflite', with one to three things in it changed."""
    rng = random.Random(f"{kind}:{seed}")
    if rng.random() < 0.2:
        return damaged(content, rng)
    return mutated_onnx(content, rng) if kind == "onnx" else mutated_tflite(content, rng)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Bytes overwritten, cut off, or moved: what a bad disk or a careless tool leaves."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data))
        match rng.randrange(5):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                at -= at % 4
                data[at : at + 4] = (rng.choice(INTEGERS) & 0xFFFFFFFF).to_bytes(4, "little")
            case 2:
                del data[at:]
            case 3:
                start = rng.randrange(len(data))
                data[at : at + 16] = data[start : start + 16]
            case 4:
                del data[at : at + rng.randint(1, 8)]
        if not data:
            return b""
    return bytes(data)


# ---- ONNX


def mutated_onnx(content: bytes, rng: random.Random) -> bytes:
    """One to three fields of the protobuf, anywhere in it."""
    model = onnx.ModelProto.FromString(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places: list[tuple[Any, Any]] = []
        _collect(model, places)
        message, slot = rng.choice(places)
        _mutate_field(message, slot, rng, _names(model))
    return model.SerializeToString()


def _collect(message: Any, places: list[tuple[Any, Any]]) -> None:
    """Every (message, field) that is set. Large tables count once, not once per element."""
    for slot, value in message.ListFields():
        places.append((message, slot))
        if slot.type == slot.TYPE_MESSAGE:
            for item in [value] if hasattr(value, "ListFields") else value:
                _collect(item, places)


def _names(model: Any) -> list[str]:
    """Tensor names in use: another one of them is a better lie than noise."""
    return [name for node in model.graph.node for name in (*node.input, *node.output)] or ["x"]


def _mutate_field(message: Any, slot: Any, rng: random.Random, names: list[str]) -> None:
    value = getattr(message, slot.name)
    if hasattr(value, "ListFields"):
        message.ClearField(slot.name)
    elif hasattr(value, "append") or hasattr(value, "add"):  # repeated
        action = rng.randrange(4)
        if action == 0 or not len(value):
            message.ClearField(slot.name)
        elif action == 1:
            del value[rng.randrange(len(value))]
        elif action == 2:
            value.append(value[rng.randrange(len(value))])
        elif slot.type == slot.TYPE_MESSAGE:
            items = list(value)
            rng.shuffle(items)
            copies = [type(item).FromString(item.SerializeToString()) for item in items]
            del value[:]
            value.extend(copies)
        else:
            at = rng.randrange(len(value))
            value[at] = _other(value[at], rng, names, value[at])
    else:
        new = _other(value, rng, names, value)
        try:
            setattr(message, slot.name, new)
        except (ValueError, TypeError, UnicodeDecodeError):
            message.ClearField(slot.name)


def _other(value: Any, rng: random.Random, names: list[str], fallback: Any) -> Any:
    """Another value of the same kind; what a field cannot hold is left as it was."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        new = rng.choice((*INTEGERS, value + 1, value - 1, value * 2, -value))
        return new if -(2**31) <= new < 2**31 or abs(value) >= 2**31 else fallback + 1
    if isinstance(value, float):
        return rng.choice((*FLOATS, value * 2, -value))
    if isinstance(value, str):
        return rng.choice((*rng.sample(names, min(3, len(names))), "", "\x00", value + "x", "é" * 300))
    if isinstance(value, bytes):
        return damaged(value, rng) if value else b"\x01"
    return fallback


# ---- TFLite


def mutated_tflite(content: bytes, rng: random.Random) -> bytes:
    """One to three fields of the flatbuffer's objects; where the result cannot be packed, raw damage."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        objects: list[Any] = []
        _objects(model, objects)
        if not objects:
            return damaged(content, rng)
        target = rng.choice(objects)
        key = rng.choice(list(vars(target)))
        setattr(target, key, _other_field(getattr(target, key), rng))
    try:
        return pack(model)
    except Exception:  # the packer's own complaint: not what is tested here
        return damaged(content, rng)


def _objects(item: Any, found: list[Any]) -> None:
    if type(item).__module__ == schema.__name__:
        if vars(item):
            found.append(item)
        for value in vars(item).values():
            _objects(value, found)
    elif isinstance(item, list):
        for value in item:
            _objects(value, found)


def _other_field(value: Any, rng: random.Random) -> Any:
    if value is None or type(value).__module__ == schema.__name__:
        return None
    if isinstance(value, (bool, int, float, str, bytes)):
        return _other(value, rng, ["x", "serving_default"], value)
    items = list(value)
    if not items:
        return value
    match rng.randrange(4):
        case 0:
            return None
        case 1:
            del items[rng.randrange(len(items))]
        case 2:
            items.insert(rng.randrange(len(items) + 1), rng.choice(items))
        case 3:
            at = rng.randrange(len(items))
            simple = hasattr(items[at], "item")
            old = items[at].item() if simple else items[at]
            items[at] = _other(old, rng, ["x"], old) if isinstance(old, (int, float, str, bytes)) else None
    return type(value)(items) if isinstance(value, list) else items
