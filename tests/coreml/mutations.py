"""Damage: packages and compiled models changed at random, byte by byte, or field by field so that they still parse.

A seed always gives the same damage.
"""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from sdbuild.coreml.proto import Model_pb2

_NUMBERS = (0, 1, -1, 2, 5, 16, 255, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 40, (1 << 62) + 1, (1 << 63) - 1)
_TEXTS = ("", "x", "main", "..", "a/b", "\0", "größe", "val", "-", "CoreML9", "@model_path/../weight.bin", "y" * 300)
_TEXTS += ("two\nlines", "\x1b[31mred")
_JSON = (None, True, 0, -1, 1e400, "", "x", "../x", "/dev/null", "a" * 300, [], {}, [[]], {"name": 1})
_WORDS = (
    "",
    "-1",
    "99999999999999999999",
    "0x1p+4",
    "nan",
    "tensor<fp16, [2]>",
    "?",
    "(",
    ")",
    "[",
    "{",
    '"',
    "x",
    ";",
)


def damage(source: Path, target: Path, seed: int) -> None:
    """Copy the folder ``source`` to ``target``, with one to three things changed."""
    rng = random.Random(seed)
    shutil.copytree(source, target)
    for _ in range(rng.choice((1, 1, 2, 3))):
        files = [path for path in sorted(target.rglob("*")) if path.is_file()]
        if not files:
            return
        file = rng.choice(files)
        ways = [_bytes]
        if file.suffix == ".mlmodel":
            ways = [_bytes, _message, _message, _message, _message]
        elif file.suffix == ".json":
            ways = [_bytes, _json, _json]
        elif file.suffix == ".mil":
            ways = [_bytes, _text, _text, _text]
        rng.choice(ways)(file, rng)


def _bytes(file: Path, rng: random.Random) -> None:
    data = bytearray(file.read_bytes())
    at = rng.randrange(len(data) + 1)
    match rng.randrange(7):
        case 0:
            file.unlink()
            return
        case 1:
            data = data[:at]
        case 2:
            data[at:at] = rng.randbytes(rng.randrange(1, 20))
        case 3:
            del data[at : at + rng.randrange(1, 20)]
        case 4:
            data[at : at + 8] = rng.choice((b"\xff" * 8, b"\0" * 8, (1 << 40).to_bytes(8, "little")))
        case _:
            for _ in range(rng.randrange(1, 8)):
                if data:
                    data[rng.randrange(len(data))] = rng.randrange(256)
    file.write_bytes(data)


def _message(file: Path, rng: random.Random) -> None:
    """Change one field of a model, at any depth."""
    model = Model_pb2.Model()
    try:
        model.ParseFromString(file.read_bytes())
    except DecodeError:  # damaged before
        return
    messages = list(_messages(model))
    while True:
        message = rng.choice(messages)
        descriptor = message.DESCRIPTOR
        if descriptor.fields:
            break
    field = rng.choice([field for field, _ in message.ListFields()] or descriptor.fields)
    if rng.random() < 0.1:
        field = rng.choice(descriptor.fields)
    if rng.random() < 0.2:
        message.ClearField(field.name)
    elif _is_map(field):
        entries = getattr(message, field.name)
        if entries and rng.random() < 0.7:
            del entries[rng.choice(sorted(entries))]
        elif field.message_type.fields_by_name["value"].message_type is not None:
            entries[rng.choice(_TEXTS)].SetInParent()
        else:
            entries[rng.choice(_TEXTS)] = rng.choice(_TEXTS)
    elif field.is_repeated:
        _repeated(getattr(message, field.name), field, rng)
    elif field.message_type is not None:
        same = [other for other in messages if other.DESCRIPTOR is field.message_type]
        if same:
            copy = type(same[0])()
            copy.CopyFrom(rng.choice(same))
            getattr(message, field.name).CopyFrom(copy)
    else:
        setattr(message, field.name, _scalar(field, rng, getattr(message, field.name)))
    file.write_bytes(model.SerializeToString())


def _repeated(values: Any, field: FieldDescriptor, rng: random.Random) -> None:
    at = rng.randrange(len(values)) if values else 0
    way = rng.randrange(3)
    if values and way == 0:
        del values[at]
    elif field.message_type is not None:
        if values:
            copy = type(values[at])()
            copy.CopyFrom(values[at])
            values.append(copy)
        else:
            values.add()
    elif values and way == 1:
        values[at] = _scalar(field, rng, values[at])
    else:
        values.append(_scalar(field, rng, values[at] if values else 0))


def _scalar(field: FieldDescriptor, rng: random.Random, old: Any) -> Any:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return rng.randbytes(rng.choice((0, 1, 3, 64)))
        return rng.choice(_TEXTS)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return not old
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return rng.choice((0.0, -1.0, 1e30, float("nan"), float("inf")))
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return rng.choice((0, 1, 7, 10, 11, 21, 23, 25, 32, 40, 99, 65568))
    wide = kind in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
    unsigned = kind in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)
    bits = (64 if wide else 32) - (0 if unsigned else 1)
    low, high = 0 if unsigned else -(1 << bits), (1 << bits) - 1
    return rng.choice([number for number in (*_NUMBERS, int(old or 0) + 1) if low <= number <= high])


def _messages(message: Any) -> Iterator[Any]:
    """A message and all in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if _is_map(field):
            if field.message_type.fields_by_name["value"].message_type is not None:
                for key in sorted(value):
                    yield from _messages(value[key])
        elif field.is_repeated:
            for each in value:
                yield from _messages(each)
        else:
            yield from _messages(value)


def _is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)


def _json(file: Path, rng: random.Random) -> None:
    """Change, remove or add something in a JSON file, at any depth."""
    try:
        tree = json.loads(file.read_text())
    except ValueError:  # damaged before
        return
    holders = list(_holders(tree))
    if not holders:
        return
    holder = rng.choice(holders)
    key = rng.choice(sorted(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
    match rng.randrange(4):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[rng.choice(_TEXTS)] = holder.pop(key)
        case _:
            holder[key] = rng.choice(_JSON)
    file.write_text(json.dumps(tree))


def _holders(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict | list) and tree:
        yield tree
        for each in tree.values() if isinstance(tree, dict) else tree:
            yield from _holders(each)


def _text(file: Path, rng: random.Random) -> None:
    """Change a word or a sign of a program's text."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:  # damaged before
        return
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    match rng.randrange(5):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, rng.choice(lines))
        case _:
            words = lines[at].replace("(", " ( ").replace(")", " ) ").replace("[", " [ ").split(" ")
            words[rng.randrange(len(words))] = rng.choice((*_WORDS, rng.choice(words)))
            lines[at] = " ".join(words)
    file.write_text("\n".join(lines), encoding="utf-8")
