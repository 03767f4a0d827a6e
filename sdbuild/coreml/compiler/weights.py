"""The weight file: that the program's references hold, and its way into the compiled model."""

import os
import shutil
from pathlib import Path
from typing import Literal

from sdbuild.coreml.blob import BlobError, BlobReader
from sdbuild.coreml.compiler.errors import CompileError, UnverifiedError
from sdbuild.coreml.compiler.program import Main, inline_values, position
from sdbuild.coreml.package import WEIGHT_FILE


def check_weights(main: Main, weights: Path | None) -> None:
    """Look at the record of every blob that the program names; the weights themselves are not read.

    Raises:
        CompileError: a blob that the weight file does not have.
        UnverifiedError: another weight file than the one of a package.
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
                reader.read(blob.offset)
            except BlobError as error:
                raise CompileError(f"{position(index, operation)}: {error}") from None


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
