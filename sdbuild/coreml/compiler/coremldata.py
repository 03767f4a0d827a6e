"""The two binary files, both named ``coremldata.bin``: what the model takes and gives, and what telemetry reports.

Little-endian, unaligned; a string is its length in 8 bytes, then UTF-8.
"""

import base64
import hashlib
import struct
from pathlib import Path
from typing import Any

_ML_PROGRAM = 502  # the field of the ``Model`` message that holds an ML Program
_COMPILER_MAJOR = {6: 5, 7: 5, 8: 8, 9: 9}  # by specification version


def model_data(spec: Any) -> bytes:
    """``coremldata.bin``: the model's type, versions, and its ``ModelDescription``, user metadata sorted by key."""
    description = type(spec.description)()
    description.CopyFrom(spec.description)
    description.metadata.SetInParent()  # Apple's compiler writes it even where it is empty
    version = spec.specificationVersion
    return b"".join(
        (
            struct.pack("<Iqqq", _ML_PROGRAM, _COMPILER_MAJOR[version], 0, 0),
            _string(b"generic"),
            struct.pack("<qqq", version, 0, 0),
            _string(b""),  # a variant's name
            _string(description.SerializeToString(deterministic=True)),
            struct.pack("<I12x", _ML_PROGRAM),
        )
    )


def analytics_data(model_file: Path) -> bytes:
    """``analytics/coremldata.bin``, which identifies the model by the digest of its ``model.mlmodel``."""
    with model_file.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    sections = {
        "NeuralNetworkModelDetails": {"containsCustomLayer": "0", "modelDimension": "0"},
        "SpecificationDetails": {"modelHash": base64.b64encode(digest).decode(), "modelName": "model"},
    }
    parts = []
    for name, entries in sections.items():
        parts += [_string(name.encode()), struct.pack("<Q", len(entries))]
        parts += [_string(text.encode()) for entry in entries.items() for text in entry]
    return b"".join(parts)


def _string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text
