"""Write encodings of weights as operations: ``const``, and the ``constexpr_*`` that ``runtime.constexpr`` decodes.

Until iOS 17 an operation's parts are attributes: integers are whole bytes, and packed ones lie beside a ``shape``; from iOS 18
on they are inputs of sub-byte types, and one operation may take what another gives.
"""

from collections.abc import Container, Sequence
from math import prod
from typing import Any

import numpy as np

from sdbuild.arrays import Array
from sdbuild.coreml.blob import BlobType, BlobWriter
from sdbuild.coreml.encodings import Codes, Dense, Encoding, Palette, Quantized, Shape, Sparse
from sdbuild.coreml.mil import INLINE_LIMIT, set_string, set_type, shape_of
from sdbuild.coreml.package import WEIGHT_FILE
from sdbuild.coreml.proto import MIL_pb2
from sdbuild.opset import Opset

_TYPES = {"float16": "FLOAT16", "float32": "FLOAT32"}
_HALF, _SINGLE = np.dtype(np.float16), np.dtype(np.float32)


def write_encoding(encoding: Encoding, output: Any, opset: str, blobs: BlobWriter, taken: Container[str]) -> list[Any]:
    """The operations that make up a weight, the last of which has the ``output``, a ``NamedValueType``; blobs are written.

    ``taken`` are names that intermediate values may not have.

    Raises:
        ValueError: the opset has no form for the encoding, or it is not one of a tensor of the output's type and shape.
    """
    name, shape = str(output.name), shape_of(output.type)
    declared = MIL_pb2.DataType.Name(output.type.tensorType.dataType)
    widened = isinstance(encoding, Dense) and encoding.dtype == _HALF and declared == "FLOAT32"
    if encoding.shape != shape or (_type(encoding.dtype) != declared and not widened):
        raise ValueError(f"{name}: {encoding.dtype} {list(encoding.shape)} for a weight of {declared} {list(shape)}")
    known = Opset.of_mil(opset)
    late = known is not None and known >= Opset.IOS18
    writer = (_Late if late else _Early)(name, opset, blobs, taken)
    if widened:
        assert isinstance(encoding, Dense)
        writer.operation(
            "constexpr_cast",
            [(name, "FLOAT32", shape)],
            source_val=writer.array(encoding.data),
            output_dtype=_text("fp32"),
        )
    else:
        writer.dense(name, encoding)
    return writer.operations


def _type(dtype: np.dtype[Any]) -> str:
    return dtype.name.upper()


def _text(text: str) -> Any:
    value = MIL_pb2.Value()
    set_string(value, text)
    return value


class _Writer:
    """The operations of one weight so far. Values are ``Value`` messages, or names of what an operation before gave."""

    def __init__(self, name: str, opset: str, blobs: BlobWriter, taken: Container[str]) -> None:
        self.operations: list[Any] = []
        self._name, self._opset, self._blobs, self._taken = name, opset, blobs, taken

    def operation(self, kind: str, outputs: Sequence[tuple[str, str, Shape]], **parts: Any) -> None:
        raise NotImplementedError

    def dense(self, name: str, encoding: Encoding) -> None:
        raise NotImplementedError

    def array(self, array: Array) -> Any:
        """A value: in the program where it is short, else in the weight file."""
        return self._value(_type(array.dtype), array.shape, array, array.size < INLINE_LIMIT)

    def codes(self, codes: Codes, inline: bool = False) -> Any:
        """A value of a type of its own; in the weight file, or ``inline`` if it is short and of whole bytes."""
        short = inline and codes.bits == 8 and prod(codes.shape) < INLINE_LIMIT
        return self._value(codes.type.upper(), codes.shape, codes.packed, short)

    def packed(self, codes: Codes) -> Any:
        """A value of bytes, in the weight file."""
        return self._value("UINT8", codes.packed.shape, codes.packed, inline=False)

    def numbers(self, kind: str, numbers: Any) -> Any:
        """Whole numbers, in the program: a scalar or a list."""
        return self._value(kind, np.shape(numbers), np.asarray(numbers, kind.lower()), inline=True)

    def _value(self, kind: str, shape: Shape, content: Array, inline: bool) -> Any:
        value = MIL_pb2.Value()
        set_type(value.type, MIL_pb2.DataType.Value(kind), shape)
        if not inline:
            content = np.ascontiguousarray(content, content.dtype.newbyteorder("<"))
            padding = content.nbytes * 8 - prod(shape) * int(kind.lstrip("FLOATUIN"))
            value.blobFileValue.fileName = WEIGHT_FILE
            value.blobFileValue.offset = self._blobs.add(BlobType[kind], content.nbytes, [content], padding)
        elif kind == "FLOAT32":
            value.immediateValue.tensor.floats.values.extend(content.reshape(-1).tolist())
        elif kind == "INT32":
            value.immediateValue.tensor.ints.values.extend(content.reshape(-1).tolist())
        else:
            value.immediateValue.tensor.bytes.values = content.astype(content.dtype.newbyteorder("<")).tobytes()
        return value

    def constant(self, name: str, data: Array) -> None:
        operation = self._add("const", [(name, _type(data.dtype), data.shape)])
        operation.attributes["val"].CopyFrom(self.array(data))

    def _add(self, kind: str, outputs: Sequence[tuple[str, str, Shape]]) -> Any:
        operation = MIL_pb2.Operation(type=kind)
        set_string(operation.attributes["name"], outputs[0][0])
        for name, dtype, shape in outputs:
            set_type(operation.outputs.add(name=name).type, MIL_pb2.DataType.Value(dtype), shape)
        self.operations.append(operation)
        return operation

    def fresh(self, what: str) -> str:
        """A name for an intermediate value."""
        name = f"{self._name}_{what}"
        while name in self._taken:
            name += "_"
        return name

    def refuse(self, what: str) -> ValueError:
        return ValueError(f"{self._name}: {what} in {self._opset}, which has no form for them")


class _Early(_Writer):
    """Until iOS 17: one operation a weight, its parts attributes."""

    def operation(self, kind: str, outputs: Sequence[tuple[str, str, Shape]], **parts: Any) -> None:
        operation = self._add(kind, outputs)
        for key, value in parts.items():
            operation.attributes[key].CopyFrom(value)

    def dense(self, name: str, encoding: Encoding) -> None:
        output = [(name, _type(encoding.dtype), encoding.shape)]
        match encoding:
            case Dense(data):
                self.constant(name, data)
            case Palette(indices, tables):
                *groups, entries, vector = tables.shape
                if prod(groups) * vector > 1 or indices.bits == 3:
                    kind = f"vectors of {vector}" if vector > 1 else f"{prod(groups)} tables"
                    raise self.refuse(f"{kind} of {indices.bits} bits")
                self.operation(
                    "constexpr_lut_to_dense",
                    output,
                    indices=self.packed(indices),
                    lut=self.array(tables.reshape(entries)),
                    shape=self.numbers("UINT32", encoding.shape),
                )
            case Quantized(Codes() as codes, scale, offset) if codes.bits == 8:
                axes = [axis for axis, count in enumerate(scale.shape) if count > 1]
                flat = [scale.shape[axis] for axis in axes]
                if len(axes) > 1 or flat != [codes.shape[axis] for axis in axes]:
                    raise self.refuse(f"scales of shape {list(scale.shape)}")
                zeros = np.zeros(scale.size, np.uint8) if offset is None else offset.packed
                zero_point = Codes(codes.type, zeros, tuple(flat))
                self.operation(
                    "constexpr_affine_dequantize",
                    output,
                    quantized_data=self.codes(codes),
                    zero_point=self.codes(zero_point, inline=True),
                    scale=self.array(scale.reshape(flat)),
                    axis=self.numbers("INT32", axes[0] if axes else 0),
                )
            case Sparse(mask, Dense(data)):
                self.operation(
                    "constexpr_sparse_to_dense",
                    output,
                    nonzero_data=self.array(data),
                    mask=self.packed(mask),
                    shape=self.numbers("UINT32", encoding.shape),
                )
            case Quantized(Codes() as codes):
                raise self.refuse(f"linear weights of {codes.bits} bits")
            case _:
                raise self.refuse(f"{type(encoding).__name__} weights of compressed numbers")


class _Late(_Writer):
    """From iOS 18 on: parts are inputs, of their own types, or what another operation gives."""

    def operation(self, kind: str, outputs: Sequence[tuple[str, str, Shape]], **parts: Any) -> None:
        operation = self._add(kind, outputs)
        for key, value in parts.items():
            if isinstance(value, str):
                operation.inputs[key].arguments.add(name=value)
            elif value is not None:
                operation.inputs[key].arguments.add().value.CopyFrom(value)

    def dense(self, name: str, encoding: Encoding) -> None:
        output = [(name, _type(encoding.dtype), encoding.shape)]
        match encoding:
            case Dense(data):
                self.constant(name, data)
            case Palette(indices, tables):
                self.operation(
                    "constexpr_lut_to_dense",
                    output,
                    indices=self.codes(indices),
                    lut=self.array(tables),
                    vector_axis=self._vector_axis(encoding),
                )
            case Quantized(Codes() as codes, scale, offset):
                self._scale(output, self.codes(codes), scale, offset)
            case Quantized(Palette() as palette, scale, offset):
                inner = self.fresh("codes")
                self.dense(inner, palette)
                self._scale(output, inner, scale, offset)
            case Sparse(mask, kept):
                kept_mask, values = self._sparse(self.codes(mask), mask.shape, kept)
                self.operation("constexpr_sparse_to_dense", output, nonzero_data=values, mask=kept_mask)

    def _scale(self, output: Sequence[tuple[str, str, Shape]], data: Any, scale: Array, offset: Codes | None) -> None:
        kind = "constexpr_blockwise_shift_scale"
        self.operation(kind, output, data=data, scale=self.array(scale), offset=self._offset(offset))

    def _sparse(self, mask: Any, shape: Shape, kept: Dense | Palette | Quantized) -> tuple[Any, Any]:
        """The mask and the elements that it keeps; ``mask`` is one of a tensor of ``shape``."""
        if isinstance(kept, Dense):
            return mask, self.array(kept.data)
        kind = "palettized" if isinstance(kept, Palette) else "quantized"
        names = self.fresh(f"{kind}_mask"), self.fresh(kind)
        if isinstance(kept, Palette):
            self.operation(
                "constexpr_lut_to_sparse",
                [(names[0], "UINT1", kept.spread(shape)), (names[1], _type(kept.dtype), kept.shape)],
                indices_mask=mask,
                indices_nonzero_data=self.codes(kept.indices),
                lut=self.array(kept.tables),
                vector_axis=self._vector_axis(kept),
            )
            return names
        if isinstance(kept.codes, Palette):
            mask, data = self._sparse(mask, shape, kept.codes)
            shape = kept.codes.spread(shape)
        else:
            data = self.codes(kept.codes)
        self.operation(
            "constexpr_sparse_blockwise_shift_scale",
            [(names[0], "UINT1", shape), (names[1], _type(kept.dtype), kept.shape)],
            data_mask=mask,
            nonzero_data=data,
            scale=self.array(kept.scale),
            offset=self._offset(kept.offset),
        )
        return names

    def _vector_axis(self, palette: Palette) -> Any:
        return None if palette.vector_axis is None else self.numbers("INT32", palette.vector_axis)

    def _offset(self, offset: Codes | None) -> Any:
        return None if offset is None else self.codes(offset, inline=True)
