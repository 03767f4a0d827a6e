"""Core ML's protobuf messages, taken from coremltools without importing coremltools.

``import coremltools`` takes seconds and pulls in torch; its generated ``*_pb2`` modules need only protobuf. So they are
imported under an empty stand-in for their parent package, which is removed again. Their real names matter: a descriptor
can be registered once a process, so a later ``import coremltools`` must find these very modules in ``sys.modules``.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

_NAMES = ("MIL_pb2", "Model_pb2", "FeatureTypes_pb2")


def _load() -> list[Any]:
    if "coremltools" in sys.modules:
        return [importlib.import_module(f"coremltools.proto.{name}") for name in _NAMES]
    found = importlib.util.find_spec("coremltools")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("coremltools is not installed; run: pip install 'coremltools>=9.0,<10'")
    package = ModuleType("coremltools.proto")
    package.__path__ = [str(Path(found.origin).parent / "proto")]
    sys.modules["coremltools.proto"] = package
    sys.modules["coremltools"] = ModuleType("coremltools")
    try:
        return [importlib.import_module(f"coremltools.proto.{name}") for name in _NAMES]
    finally:
        del sys.modules["coremltools"]


MIL_pb2, Model_pb2, FeatureTypes_pb2 = _load()
