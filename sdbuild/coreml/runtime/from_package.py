"""Read a program from the protobuf of an ``.mlpackage``. Source of the format: ``MIL.proto`` in apple/coremltools."""

from typing import Any

import numpy as np

from sdbuild.arrays import Array
from sdbuild.coreml.package import WEIGHT_FILE
from sdbuild.coreml.proto import MIL_pb2
from sdbuild.coreml.runtime.description import default_function
from sdbuild.coreml.runtime.errors import ModelError, UnsupportedError
from sdbuild.coreml.runtime.packing import unpack
from sdbuild.coreml.runtime.program import (
    NUMPY_TYPES,
    SUB_BYTE_BITS,
    Argument,
    Block,
    Constant,
    Function,
    Immediate,
    ListType,
    Operation,
    Stored,
    TensorType,
    Value,
)
from sdbuild.opset import Opset

_SHORT = {"FLOAT16": "fp16", "FLOAT32": "fp32", "FLOAT64": "fp64", "BFLOAT16": "bf16"}


def read_function(spec: Any, name: str | None = None) -> Function:
    """A function of a model, from its ``Model`` message: the one named, or that which it runs by default.

    Raises:
        ModelError: no such function, or a program that contradicts itself.
        UnsupportedError: not an ML Program, or a construct the runtime does not know.
    """
    kind = spec.WhichOneof("Type")
    if kind != "mlProgram":
        parts = getattr(spec, kind).models if kind == "pipeline" else []
        of = f" of {', '.join(each.WhichOneof('Type') or 'none' for each in parts)}" if parts else ""
        raise UnsupportedError(f"the model is of kind {kind or 'none'}{of}; only ML Programs (mlProgram) can be run")
    functions = spec.mlProgram.functions
    name = name or default_function(spec.description)
    if name not in functions:
        raise ModelError(f"the program has no function {name!r} (it has: {', '.join(sorted(functions)) or 'none'})")
    function = functions[name]
    if function.opset not in function.block_specializations:
        raise ModelError(f"function {name!r} has no body for its opset {function.opset!r}")
    counter = iter(range(1 << 30))
    block = _block(function.block_specializations[function.opset], counter)
    block.inputs = [_value(each) for each in function.inputs]
    opset = Opset.of_mil(function.opset)
    return Function(name, opset.system if opset is not None else function.opset, block.inputs, block)


def _block(proto: Any, counter: Any) -> Block:
    return Block(
        inputs=[_value(each) for each in proto.inputs],
        operations=[_operation(each, counter) for each in proto.operations],
        outputs=list(proto.outputs),
    )


def _operation(proto: Any, counter: Any) -> Operation:
    index = next(counter)
    where = f"operation {index} ({proto.type} -> {', '.join(output.name for output in proto.outputs)})"
    return Operation(
        type=proto.type,
        index=index,
        inputs={
            name: [_argument(each, f"{where}, {name}") for each in argument.arguments]
            for name, argument in proto.inputs.items()
        },
        attributes={
            name: _constant(value, f"{where}, {name}")
            for name, value in proto.attributes.items()
            if value.type.WhichOneof("type") == "tensorType"  # others are annotations
        },
        outputs=[_value(each) for each in proto.outputs],
        blocks=[_block(each, counter) for each in proto.blocks],
    )


def _argument(proto: Any, where: str) -> Argument:
    return str(proto.name) if proto.WhichOneof("binding") == "name" else _constant(proto.value, where)


def _value(proto: Any) -> Value:
    kind = proto.type.WhichOneof("type")
    if kind == "listType" and proto.type.listType.type.WhichOneof("type") == "tensorType":
        element = _type(proto.type.listType.type.tensorType)
        return Value(proto.name, ListType(element.dtype, element.shape))
    if kind != "tensorType":
        raise UnsupportedError(
            f"{proto.name} is a {kind or 'value without type'}; only tensors and lists of tensors are supported"
        )
    return Value(proto.name, _type(proto.type.tensorType))


def _type(proto: Any) -> TensorType:
    shape = tuple(
        int(each.constant.size) if each.WhichOneof("dimension") == "constant" else None for each in proto.dimensions
    )
    if proto.dataType not in MIL_pb2.DataType.values():
        raise UnsupportedError(f"the data type number {proto.dataType} is not supported")
    name = MIL_pb2.DataType.Name(proto.dataType)
    return TensorType(_SHORT.get(name, name.lower()), shape)


def _constant(proto: Any, where: str) -> Constant:
    kind = proto.type.WhichOneof("type")
    if kind != "tensorType":
        raise UnsupportedError(f"{where} is a {kind}; only tensors are supported")
    tensor = _type(proto.type.tensorType)
    if proto.WhichOneof("value") == "blobFileValue":
        if proto.blobFileValue.fileName != WEIGHT_FILE:
            raise UnsupportedError(
                f"{where}: weights in {proto.blobFileValue.fileName}; only {WEIGHT_FILE} is supported"
            )
        return Stored(tensor, int(proto.blobFileValue.offset))
    return Immediate(tensor, _immediate(proto.immediateValue.tensor, tensor, where))


def _immediate(proto: Any, tensor: TensorType, where: str) -> Array | str:
    kind = proto.WhichOneof("value")
    if tensor.dtype == "string":
        texts = list(proto.strings.values)
        if len(texts) != 1:
            raise UnsupportedError(f"{where} is a list of texts; only single ones are supported")
        return str(texts[0])
    if tensor.dtype not in NUMPY_TYPES:
        raise UnsupportedError(f"{where} has the data type {tensor.dtype}, which is not supported")
    if None in tensor.shape:
        raise ModelError(f"{where} is a constant of no fixed shape: {tensor}")
    try:
        if kind == "bytes" and tensor.dtype in SUB_BYTE_BITS:
            flat = unpack(np.frombuffer(proto.bytes.values, np.uint8), tensor.dtype, tensor.elements)
        elif kind == "bytes":
            flat = np.frombuffer(proto.bytes.values, NUMPY_TYPES[tensor.dtype])
        else:
            flat = np.array(getattr(proto, kind).values if kind else [], NUMPY_TYPES[tensor.dtype])
    except (ValueError, OverflowError) as error:
        raise ModelError(f"{where}: these are not the values of a {tensor} ({error})") from None
    if flat.size != tensor.elements:
        raise ModelError(f"{where} is said to be {tensor} and holds {flat.size} elements")
    return flat.reshape(tensor.shape)
