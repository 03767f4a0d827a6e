"""The form of the device catalogue. The data and their sources are in devices.yaml."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from sdbuild.recipe.fields import WHOLE, Strict, wrong
from sdbuild.recipe.targets import DEFAULT_YEAR, NEWEST_YEAR, Platform, Target, target_of, version, year_of


def _system(name: str) -> str:
    if version(name) is None:
        raise wrong("a system is written as iOS17 or macOS14")
    return name


System = Annotated[str, AfterValidator(_system)]


class Chip(Strict):
    """What a chip means for Core ML."""

    title: str = Field(description="Apple's name.")
    neural_engine: bool = Field(description="It has a Neural Engine that Core ML can use.")
    compute_units: Literal["all", "cpuAndGPU", "cpuAndNeuralEngine"] = Field(description="What runs fastest on it.")
    supported: bool = Field(default=True, description="At or above the oldest hardware that the reference names.")
    source: Literal["reference", "tier", "ane"] = Field(description="Where this is known from; see devices.yaml.")


class Device(Strict):
    """A device, or a kind of Mac."""

    title: str = Field(description="Apple's name.")
    chip: str = Field(description="A key of `chips`.")
    memory: int = Field(gt=0, description="Memory in GB, of the smallest configuration.")
    first_os: System = Field(description="The system that it was sold with.")
    last_os: System | None = Field(default=None, description="The newest system that it got, where that is past.")

    @property
    def platform(self) -> Platform:
        """The family of systems it runs."""
        return (version(self.first_os) or ("iOS", 0))[0]

    @property
    def default_target(self) -> Target:
        """The oldest system worth building for: the device's first, but none that expands compressed weights."""
        year = max(year_of(self.first_os), DEFAULT_YEAR)
        if self.last_os is not None:
            year = min(year, year_of(self.last_os))
        return target_of(self.platform, min(year, NEWEST_YEAR))


class Catalogue(Strict):
    """All chips and devices."""

    schema_version: Annotated[Literal[1], WHOLE] = Field(alias="schema")
    chips: dict[str, Chip]
    devices: dict[str, Device]

    def chip(self, device: str) -> Chip:
        """The chip of a device."""
        return self.chips[self.devices[device].chip]
