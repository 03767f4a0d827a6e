"""The binary files, all named ``coremldata.bin``: what a model takes and gives, and what telemetry reports.

Little-endian, unaligned; a string is its length in 8 bytes, then UTF-8.
"""

import base64
import hashlib
import struct
from pathlib import Path
from typing import Any

_ML_PROGRAM, _PIPELINE, _SUPPRESSION = 502, 202, 610
"""By what a file's first field is told: the numbers of the fields of a ``Model`` message."""

_COMPILER_MAJOR = {6: 5, 7: 5, 8: 8, 9: 9}  # of an ML Program, by specification version
_Sections = dict[str, dict[str, str]]


def program_data(spec: Any) -> bytes:
    """``coremldata.bin`` of an ML Program: its type, versions, and its ``ModelDescription``, user metadata sorted by key."""
    major, version = _COMPILER_MAJOR[spec.specificationVersion], spec.specificationVersion
    return (
        _head(_ML_PROGRAM, (major, 0, 0), "generic", version)
        + _string(_description(spec))
        + struct.pack("<I12x", _ML_PROGRAM)
    )


def pipeline_data(spec: Any) -> bytes:
    """The same of a pipeline of an ML Program and non-maximum suppression, which names the versions of both."""
    major = _COMPILER_MAJOR[spec.pipeline.models[0].specificationVersion]
    versions = f"generic.model0v{major}.0.0generic.model1v1.0.0spec"
    return (
        _head(_PIPELINE, (1, 0, 1), versions, spec.specificationVersion)
        + _string(_description(spec))
        + struct.pack("<QII", len(spec.pipeline.models), _PIPELINE, 0)
    )


def suppression_data(spec: Any) -> bytes:
    """The same of non-maximum suppression: the whole model."""
    head = _head(_SUPPRESSION, (1, 0, 0), "spec", spec.specificationVersion)
    return head + bytes(spec.SerializeToString(deterministic=True))


def program_analytics(model_file: Path) -> bytes:
    """``analytics/coremldata.bin`` of an ML Program, which identifies it by the digest of its ``model.mlmodel``."""
    return _sections(_DETAILS | _specification(model_file))


def pipeline_analytics(model_file: Path) -> bytes:
    """The same of a pipeline of two models."""
    return _sections({"PipelineModelDetails": {"modelDimension": "2"}} | _specification(model_file))


def inner_analytics() -> bytes:
    """The same of an ML Program within a pipeline."""
    return _sections(_DETAILS)


_DETAILS: _Sections = {"NeuralNetworkModelDetails": {"containsCustomLayer": "0", "modelDimension": "0"}}


def _specification(model_file: Path) -> _Sections:
    with model_file.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    return {"SpecificationDetails": {"modelHash": base64.b64encode(digest).decode(), "modelName": "model"}}


def _sections(sections: _Sections) -> bytes:
    parts = []
    for name, entries in sections.items():
        parts += [_string(name.encode()), struct.pack("<Q", len(entries))]
        parts += [_string(text.encode()) for entry in entries.items() for text in entry]
    return b"".join(parts)


def _head(kind: int, compiler: tuple[int, int, int], name: str, version: int) -> bytes:
    variant = _string(b"")
    return struct.pack("<I3q", kind, *compiler) + _string(name.encode()) + struct.pack("<3q", version, 0, 0) + variant


def _description(spec: Any) -> bytes:
    description = type(spec.description)()
    description.CopyFrom(spec.description)
    description.metadata.SetInParent()  # Apple's compiler writes it even where it is empty
    return bytes(description.SerializeToString(deterministic=True))


def _string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text
