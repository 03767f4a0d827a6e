"""The weight file: that the program's references hold, and its way into the compiled model."""

import os
import shutil
from math import prod
from pathlib import Path
from typing import Any, Literal

from sdbuild.coreml.blob import Blob, BlobError, BlobReader, payload_size
from sdbuild.coreml.compiler.errors import CompileError, UnverifiedError
from sdbuild.coreml.compiler.literals import data_type
from sdbuild.coreml.compiler.program import Main, inline_values, position
from sdbuild.coreml.package import WEIGHT_FILE
from sdbuild.coreml.proto import MIL_pb2


def check_weights(main: Main, weights: Path | None) -> None:
    """Look at the record of every blob that the program names; the weights themselves are not read.

    Raises:
        CompileError: a blob that the weight file does not have, or has with another type or size.
        UnverifiedError: another weight file than the one of a package, or a weight that is no tensor of fixed shape.
    """
    reader = BlobReader(weights) if weights else None
    for index, operation in enumerate(main.operations):
        for value in (*operation.attributes.values(), *inline_values(operation)):
            if not value.HasField("blobFileValue"):
                continue
            blob = value.blobFileValue
            if blob.fileName != WEIGHT_FILE:
                raise UnverifiedError(f'{position(index, operation)}: the weight file "{blob.fileName}"')
            if reader is None:
                raise CompileError(f"{position(index, operation)}: needs weights/weight.bin, which the package lacks")
            try:
                _check_fit(value.type, reader.read(blob.offset))
            except (BlobError, CompileError) as error:
                kind = type(error) if isinstance(error, CompileError) else CompileError
                raise kind(f"{position(index, operation)}: {error}") from None


def _check_fit(value_type: Any, blob: Blob) -> None:
    tensor = value_type.tensorType
    if not value_type.HasField("tensorType") or not all(size.HasField("constant") for size in tensor.dimensions):
        raise UnverifiedError("a weight that is no tensor of fixed shape")
    element, stored = data_type(tensor.dataType), blob.type.name
    if MIL_pb2.DataType.Name(tensor.dataType) != stored:
        raise CompileError(f"the program says {element.title}, the weight file {stored.lower()}")
    shape = [int(size.constant.size) for size in tensor.dimensions]
    size = payload_size(blob.type, prod(shape))
    if len(blob.data) != size:
        raise CompileError(
            f"{element.title} of the shape {shape} takes {size} bytes, the weight file has {len(blob.data)}"
        )


def place_weights(weights: Path, path: Path, how: Literal["copy", "link"]) -> None:
    """Put the weight file at ``path``: a copy, or a hard link where the file system can."""
    path.parent.mkdir()
    if how == "link":
        try:
            os.link(weights.resolve(), path)
        except OSError:  # another device, or links not supported: a copy serves
            pass
        else:
            return
    shutil.copyfile(weights, path)
