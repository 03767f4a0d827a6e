"""Types and values as text."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbuild.coreml.compiler import CompileError, UnverifiedError
from sdbuild.coreml.compiler.literals import DATA_TYPES, Text, data_type, hex_float, quote
from sdbuild.coreml.proto import MIL_pb2
from tests.coreml.compiler.models import tensor_type, value


def bits(number: float) -> bytes:
    return struct.pack("<d", number)


def test_every_float16_is_read_back_as_it_was() -> None:
    for number in np.arange(65536, dtype=np.uint16).view(np.float16).astype(float).tolist():
        text = hex_float(number)
        assert bits(float.fromhex(text)) == bits(number) or (math.isnan(number) and text == "nan")


@given(st.floats(width=32, allow_nan=False))
@settings(max_examples=300)
def test_a_float32_is_read_back_as_it_was(number: float) -> None:
    text = hex_float(number)
    assert bits(float.fromhex(text)) == bits(number)
    assert text in ("inf", "-inf", "0x0p+0", "-0x0p+0") or text.lstrip("-").startswith("0x1")  # normalized
    assert ".p" not in text
    assert "0p" not in text.replace("0x0p", "")  # no zeros at the end of the fraction


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (3.0, "0x1.8p+1"),
        (0.0, "0x0p+0"),
        (-0.0, "-0x0p+0"),
        (1.0, "0x1p+0"),
        (2.0**-24, "0x1p-24"),
        (2.0**-149, "0x1p-149"),
        (5e-324, "0x1p-1074"),
        (-0.97, "-0x1.f0a3d70a3d70ap-1"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (math.nan, "nan"),
    ],
)
def test_floats_are_written_as_c_writes_them(number: float, text: str) -> None:
    assert hex_float(number) == text


@pytest.mark.parametrize("text", ['a"b', "a\\b", "a\nb", "\x00"])
def test_a_string_that_would_need_an_escape_is_refused(text: str) -> None:
    with pytest.raises(
        UnverifiedError, match="how quotes, backslashes and control characters are escaped is not known"
    ):
        quote(text)


@pytest.mark.parametrize("code", DATA_TYPES)
def test_every_element_type_has_its_name_in_both_dialects(code: int) -> None:
    name = DATA_TYPES[code].text
    kind = MIL_pb2.DataType.Name(code)
    assert name.replace("fp", "float") == kind.lower()
    assert Text(bare_scalars=False).type(tensor_type(kind)) == f"tensor<{name}, []>"
    assert Text(bare_scalars=True).type(tensor_type(kind)) == name
    assert Text(bare_scalars=True).type(tensor_type(kind, [2, None])) == f"tensor<{name}, [2, ?]>"


def test_an_unseen_element_type_is_refused() -> None:
    with pytest.raises(UnverifiedError, match=r"^the element type BFLOAT16$"):
        data_type(MIL_pb2.BFLOAT16)
    with pytest.raises(UnverifiedError, match=r"^the element type 999$"):
        data_type(999)


def test_lists_tuples_and_dictionaries() -> None:
    words = MIL_pb2.Value()
    words.type.listType.type.CopyFrom(tensor_type("STRING"))
    words.type.listType.length.constant.size = 2
    words.immediateValue.list.values.extend([value("STRING", "a"), value("STRING", "b")])
    assert Text(bare_scalars=True).value(words) == 'list<string, 2>(["a", "b"])'
    table = MIL_pb2.Value()
    table.type.dictionaryType.keyType.CopyFrom(tensor_type("INT32"))
    table.type.dictionaryType.valueType.CopyFrom(words.type)
    table.immediateValue.dictionary.values.add(key=value("INT32", 1), value=words)
    both = MIL_pb2.Value()
    both.type.tupleType.types.extend([table.type, tensor_type("BOOL")])
    both.immediateValue.tuple.values.extend([table, value("BOOL", True)])
    assert Text(bare_scalars=True).value(both) == (
        'tuple<dict<int32, list<string, 2>>, bool>(({{1, ["a", "b"]}}, true))'
    )
    assert Text(bare_scalars=False).type(both.type) == (
        "tuple<dict<tensor<int32, []>, list<tensor<string, []>, 2>>, tensor<bool, []>>"
    )


def unknown_dimension(constant: MIL_pb2.Value) -> None:
    constant.type.tensorType.dimensions[0].unknown.variadic = False


def variadic(constant: MIL_pb2.Value) -> None:
    constant.type.tensorType.dimensions[0].unknown.variadic = True


def packed(constant: MIL_pb2.Value) -> None:
    constant.type.tensorType.dataType = MIL_pb2.UINT4
    constant.immediateValue.tensor.bytes.values = b"\x21"


def ragged(constant: MIL_pb2.Value) -> None:
    constant.type.tensorType.dataType = MIL_pb2.FLOAT16
    constant.immediateValue.tensor.bytes.values = b"abc"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.immediateValue.tensor.ints.values.pop(), r"a constant of shape \[2\] holds 1 elements"),
        (lambda v: v.immediateValue.tensor.ClearField("ints"), r"a constant of shape \[2\] holds 0 elements"),
        (lambda v: v.ClearField("immediateValue"), "a value without content"),
        (ragged, "a constant of type fp16 holds 3 bytes"),
        (packed, "elements of type uint4 written into the program instead of the weight file"),
        (unknown_dimension, "a tensor constant with an unknown dimension"),
        (variadic, "a tensor constant with an unknown dimension"),
        (lambda v: setattr(v, "docString", "x"), "the documentation string of a value"),
        (lambda v: setattr(v.type.tensorType, "rank", -1), "a tensor type of unknown rank or with attributes"),
        (lambda v: v.ClearField("type"), "the element type UNUSED_TYPE"),
    ],
)
def test_a_value_that_does_not_fit_is_not_printed(change: object, message: str) -> None:
    constant = value("INT32", [1, 2])
    assert callable(change)
    change(constant)
    with pytest.raises(CompileError, match=f"^{message}$"):
        Text(bare_scalars=True).value(constant)


def test_types_that_are_not_printed() -> None:
    text = Text(bare_scalars=True)
    state = MIL_pb2.ValueType()
    state.stateType.wrappedType.CopyFrom(tensor_type("FLOAT16", [1]))
    with pytest.raises(UnverifiedError, match=r"^a state$"):
        text.type(state)
    with pytest.raises(UnverifiedError, match=r"^a value without a type$"):
        text.type(MIL_pb2.ValueType())
    anything = tensor_type("FLOAT16", [None])
    anything.tensorType.dimensions[0].unknown.variadic = True
    with pytest.raises(UnverifiedError, match=r"^a variadic dimension$"):
        text.type(anything)
