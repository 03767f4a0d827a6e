"""By what a model is known to be of a family: asked by recipes of local models, and by the first stage of all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """What the models of a family have that others lack."""

    title: str
    """What people call the family."""
    pipelines: tuple[str, ...]
    """Classes that ``model_index.json`` names, by their beginnings; of several families that with the longest has it."""
    other_pipelines: tuple[str, ...] = ()
    """Beginnings of classes that are not the family's, though they begin like one."""
    says: Mapping[str, Any] = field(default_factory=dict)
    """What the denoiser's ``config.json`` says, None for what it does not say, where that tells the family."""
    meaning: str = ""
    """The same in words: "it …"."""
    otherwise: str = ""
    """In words, what it is that says something else, and so is not of the family; empty where others may be as well."""

    def tells(self, denoiser: Mapping[str, Any]) -> bool:
        """Whether a denoiser's configuration is a sure sign of the family."""
        return bool(self.says) and all(
            type(denoiser.get(key)) is type(value) and denoiser.get(key) == value for key, value in self.says.items()
        )


Families = Mapping[str, Recognition]
"""All that there are, by name."""


def families_of(pipeline_class: str, families: Families) -> list[str]:
    """The names of the families that a pipeline of a class may be of."""
    lengths = {
        name: max((len(start) for start in each.pipelines if pipeline_class.startswith(start)), default=0)
        for name, each in families.items()
        if not pipeline_class.startswith(each.other_pipelines)
    }
    longest = max(lengths.values(), default=0)
    return [name for name, length in lengths.items() if length == longest > 0]


def mismatch(denoiser: Mapping[str, Any], family: str, families: Families) -> tuple[str, str] | None:
    """Why a denoiser is not of a family, and what the recipe should say; None where nothing speaks against it."""
    own, found = families[family], [name for name, each in families.items() if each.tells(denoiser)]
    if family in found:
        return None
    if found:
        other = families[found[0]]
        return f"the UNet is one of {other.title} ({other.meaning})", advice(found[:1])
    if own.otherwise:
        open_to_any = [name for name, each in families.items() if not each.otherwise]
        return f"the UNet is not one of {own.title} ({own.otherwise})", advice(open_to_any)
    return None  # a small one of somebody's own


def advice(names: Iterable[str]) -> str:
    """What to write in a recipe for a model of one of these families."""
    return "write " + " or ".join(f"`pipeline: {name}`" for name in names)
