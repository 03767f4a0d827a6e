"""The opsets of ML Programs, in their order: which systems read them, and what each part of Core ML calls them.

From coremltools 9.0: `AvailableTarget` in converters/mil/_deployment_compatibility.py, and the `_SPECIFICATION_VERSION_*`
constants with their opsets in its __init__.py.
"""

from __future__ import annotations

from enum import IntEnum


class Opset(IntEnum):
    """An opset, named and numbered after the iOS version that brought it; a later one is greater."""

    IOS15 = 15
    IOS16 = 16
    IOS17 = 17
    IOS18 = 18

    @property
    def macos(self) -> int:
        """The macOS version of the same year."""
        return self.value - 3

    @property
    def specification(self) -> int:
        """The lowest ``specificationVersion`` of a model that has it."""
        return self.value - 9

    @property
    def mil(self) -> str:
        """Its name in the protobuf of a program: ``CoreML7``."""
        return f"CoreML{self.value - 10}"

    @property
    def system(self) -> str:
        """Its name in a compiled program's text: ``ios17``."""
        return f"ios{self.value}"

    @classmethod
    def of_mil(cls, name: str) -> Opset | None:
        """The opset that protobuf calls so; None where that is no opset known here."""
        return next((opset for opset in cls if opset.mil == name), None)

    @classmethod
    def of_system(cls, name: str) -> Opset | None:
        """The opset that a compiled program calls so; None where that is no opset known here."""
        return next((opset for opset in cls if opset.system == name), None)
