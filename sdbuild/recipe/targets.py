"""What each deployment target is called inside a model, and what it can hold.

From coremltools 9.0, version by version: `AvailableTarget` in converters/mil/_deployment_compatibility.py (see `Opset`), the
`constexpr_*` operations in converters/mil/mil/ops/defs/iOS16 and iOS18, and the checks in
optimize/coreml/_quantization_passes.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sdbuild.opset import Opset
from sdbuild.recipe.problems import allowed, suggestion

Platform = Literal["iOS", "macOS"]

_OS = re.compile(r"(iOS|macOS)([0-9]{1,2})")


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment target: the oldest system that a model is meant to run on."""

    name: str  # iOS18
    platform: Platform
    opset: Opset  # that the system brought

    @property
    def year(self) -> int:
        """The iOS version of its year, so that iOS18 and macOS15 compare as equals."""
        return self.opset.value


TARGETS = {
    target.name: target
    for platform in ("iOS", "macOS")
    for opset in Opset
    for target in [Target(f"{platform}{opset.value if platform == 'iOS' else opset.macos}", platform, opset)]
}
NEWEST_YEAR = max(Opset).value
DEFAULT_YEAR = 17  # the first systems that keep compressed weights compressed in memory: iOS17, macOS14


@dataclass(frozen=True, slots=True)
class Feature:
    """Something a model may hold only from some year's systems on. `year` is an iOS version."""

    title: str
    year: int
    reason: str

    @property
    def since(self) -> str:
        """`iOS18 / macOS15`."""
        return f"iOS{self.year} / macOS{Opset(self.year).macos}"


FEATURES = {
    "float16_ports": Feature("Float16 inputs", 16, "coremltools accepts them from that target on"),
    "palettes": Feature(
        "palettes of 1, 2, 4, 6 or 8 bits", 16, "they need the operation constexpr_lut_to_dense, which came then"
    ),
    "three_bit_palettes": Feature(
        "3-bit palettes", 18, "their indices are of type uint3, which constexpr_lut_to_dense takes from then on"
    ),
    "grouped_palettes": Feature(
        "grouped palettes", 18, "several tables for one weight need the constexpr_lut_to_dense of that opset"
    ),
    "vector_palettes": Feature(
        "vector palettes", 18, "tables of vectors need the constexpr_lut_to_dense of that opset"
    ),
    "sparse": Feature("sparse weights", 16, "they need the operation constexpr_sparse_to_dense, which came then"),
    "sparse_palettes": Feature(
        "sparse palettes", 18, "joint compression needs the operation constexpr_lut_to_sparse, which came then"
    ),
    "int8": Feature("8-bit linear weights", 16, "they need the operation constexpr_affine_dequantize, which came then"),
    "int4": Feature(
        "4-bit linear weights", 18, "they need the operation constexpr_blockwise_shift_scale, which came then"
    ),
    "blockwise": Feature(
        "block-wise scales", 18, "they need the operation constexpr_blockwise_shift_scale, which came then"
    ),
    # README of apple/ml-stable-diffusion, "Compression: 6-bits and higher"
    "compressed_in_memory": Feature(
        "weights that stay compressed in memory", 17, "older systems expand them when the model is loaded"
    ),
}


def version(os: str) -> tuple[Platform, int] | None:
    """`iOS26` → ("iOS", 26); None for anything not written so."""
    match = _OS.fullmatch(os)
    return (match[1], int(match[2])) if match else None  # type: ignore[return-value]


def year_of(os: str) -> int:
    """The iOS version of the year in which a system came out; Apple numbers both alike from 26 on."""
    platform, number = version(os) or ("iOS", 0)
    return number if platform == "iOS" or number >= 26 else number + 3


def from_year(platform: Platform, year: int) -> list[str]:
    """The targets of a platform from a year on."""
    return [name for name, target in TARGETS.items() if target.platform == platform and target.year >= year]


def target_of(platform: Platform, year: int) -> Target:
    """The target of a platform in a year that TARGETS knows."""
    return next(target for target in TARGETS.values() if (target.platform, target.year) == (platform, year))


def os_problem(os: str) -> tuple[str, tuple[str, ...]] | None:
    """Why `os` can't be a target: a message and its notes; None when it can."""
    if os in TARGETS:
        return None
    match = re.fullmatch(r"\s*([a-z]*?)\s*([0-9]+)(?:\.[0-9.]+)?\s*", os.lower())
    word, number = (match[1], int(match[2])) if match else ("", 0)
    platform = {"ios": "iOS", "ipados": "iOS", "iphoneos": "iOS", "macos": "macOS", "osx": "macOS"}.get(word)
    names = (allowed(TARGETS),)
    if word in ("visionos", "watchos", "tvos"):
        none = ("coremltools has no target for visionOS",) if word == "visionos" else ()
        return f"'{os}' is not a target that sdbuild builds for", (*none, *names)
    if platform is not None and number >= 26:
        newest = target_of("iOS" if platform == "iOS" else "macOS", NEWEST_YEAR).name
        return (
            f"'{os}' would need Core ML specification 10, whose compiled form is not known well enough to write",
            (f"models built for {newest} run on {platform} {number} too: write {newest}", *names),
        )
    if platform is not None and f"{platform}{number}" in TARGETS:
        return f"'{os}' is not written as a target is", (f"did you mean '{platform}{number}'?", *names)
    if platform is not None and 0 < number < 15:
        return f"'{os}' can't run ML Programs, which came with iOS15 / macOS12", names
    return f"unknown system '{os}'", (*suggestion(os, TARGETS), *names)
