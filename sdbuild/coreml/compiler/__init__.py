"""The portable compiler: an ``.mlpackage`` to the ``.mlmodelc`` that Apple's ``coremlcompiler`` makes of it.

It takes ML Programs, and pipelines of one and non-maximum suppression after it.

Written from measurements of that compiler's output, and compared with it byte for byte (see the tests). A construct
that was never compared is refused by name, with these exceptions, where the pattern of what was seen is followed:

- the histogram's keys that ``operations.csv`` calls extrapolated;
- ``storagePrecision`` of sparse weights and palettes of 1, 2 and 3 bits at ios18, and of a palette as the only blob;
- ``computePrecision`` where a type stands in an argument written inline alone (not counted), or in a mask at ios18;
- more than one input of ranged shape (sorted by name), empty tensors (``[]``), ``nan``;
- an image that is not square (width first in ``formattedType``), and one at specification version 8;
- pipelines of specification version 5 around a program of 6, and of 7 around 7;
- ``generatedClassName`` of a package whose name starts with a digit (``_`` goes before it).

``python -m sdbuild.coreml.compiler PACKAGE OUT.mlmodelc`` does the same from the command line.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import sdbuild
from sdbuild.coreml.compiler import coremldata
from sdbuild.coreml.compiler.errors import CompileError, UnverifiedError
from sdbuild.coreml.compiler.metadata import pipeline_metadata, program_metadata
from sdbuild.coreml.compiler.mil_text import mil_lines
from sdbuild.coreml.compiler.pipeline import find_pipeline, has_metadata
from sdbuild.coreml.compiler.program import Main, find_main
from sdbuild.coreml.compiler.weights import check_weights, place_weights
from sdbuild.coreml.package import Package, read_package
from sdbuild.errors import one_line

__all__ = ["CompileError", "UnverifiedError", "compile_package"]

_BUILD_INFO = {"sdbuild-portable-compiler": sdbuild.__version__}
"""Says who wrote the file; ``coremlc-version`` and its like are left to Apple's compiler."""


def compile_package(
    package: Path,
    out: Path,
    *,
    build_info: Mapping[str, str] | None = None,
    weights: Literal["copy", "link"] = "copy",
) -> None:
    """Compile the model in ``package`` to the new folder ``out``.

    The same package gives the same bytes, ``modelHash`` and all. ``out`` appears when it is whole, or not at all.

    Args:
        package: the ``.mlpackage`` folder.
        out: the ``.mlmodelc`` folder to make; its parent must exist.
        build_info: entries for the program's ``buildInfo``, in place of the one that names this compiler.
        weights: whether the weight file is copied, or hard-linked where possible.

    Raises:
        PackageError: the package cannot be read.
        CompileError: it is damaged, or ``out`` cannot be written.
        UnverifiedError: it has something in it that the compiler does not vouch for; the message names it.
    """
    if out.exists() or out.is_symlink():
        raise CompileError(f"{out}: exists already; remove it, or name another")
    source = read_package(package)
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
            whole = Path(folder) / out.name
            whole.mkdir()
            _write(source, whole, _BUILD_INFO if build_info is None else build_info, weights)
            whole.rename(out)
    except UnverifiedError as error:
        raise UnverifiedError(
            f"{package}: {one_line(str(error))}: not verified against Apple's compiler, so the portable one refuses it; "
            "on a Mac with Xcode: xcrun coremlcompiler compile PACKAGE FOLDER"
        ) from None
    except CompileError as error:
        raise CompileError(f"{package}: {one_line(str(error))}") from None
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        raise CompileError(f"{out}: cannot be made: {error.strerror}{place}") from None


def _write(source: Package, folder: Path, build_info: Mapping[str, str], weights: Literal["copy", "link"]) -> None:
    if source.overlays:
        raise UnverifiedError(f"items of the manifest beside the model and its weights: {', '.join(source.overlays)}")
    spec = source.spec
    if spec.WhichOneof("Type") != "pipeline":
        main = find_main(spec)
        _write_program(spec, main, source.weights, folder, build_info, weights)
        _write_text(folder / "metadata.json", program_metadata(spec, main, source.path))
        _write_data(folder, coremldata.program_data(spec), coremldata.program_analytics(source.model_file))
        return
    parts = find_pipeline(spec)
    first, second = folder / "model0", folder / "model1"
    first.mkdir()
    _write_program(parts.program, parts.main, source.weights, first, build_info, weights)
    _write_data(first, coremldata.program_data(parts.program), coremldata.inner_analytics())
    second.mkdir()
    (second / "coremldata.bin").write_bytes(coremldata.suppression_data(parts.suppression))
    if has_metadata(spec):
        _write_text(folder / "metadata.json", pipeline_metadata(spec, parts, source.path))
    _write_data(folder, coremldata.pipeline_data(spec), coremldata.pipeline_analytics(source.model_file))


def _write_program(
    spec: Any,
    main: Main,
    weight_file: Path | None,
    folder: Path,
    build_info: Mapping[str, str],
    how: Literal["copy", "link"],
) -> None:
    check_weights(main, weight_file)
    with (folder / "model.mil").open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(mil_lines(spec, main, build_info))
    if weight_file is not None:
        place_weights(weight_file, folder / "weights" / "weight.bin", how)


def _write_data(folder: Path, data: bytes, analytics: bytes) -> None:
    (folder / "coremldata.bin").write_bytes(data)
    (folder / "analytics").mkdir()
    (folder / "analytics" / "coremldata.bin").write_bytes(analytics)


def _write_text(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8", newline="\n")
