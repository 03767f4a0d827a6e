"""What all compression steps have in common; `recipe/steps/` has a file for each.

A step's options hold for all weights but small ones and, unless asked for, embeddings. What differs for some of them is said by
type of operation, by name or by PyTorch parameter, the later of which win (`compress.selection` applies it to a model).
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import AfterValidator, Field, WithJsonSchema

from sdbuild.recipe.fields import Strict, wrong
from sdbuild.recipe.problems import allowed, suggestion

_MIN_ELEMENTS = 2048  # coremltools' own

# The operations that sdbuild writes with weights of two axes or more, by what a recipe may call them: MIL's own names.
_OPERATIONS = ("add", "conv", "gather", "linear", "matmul", "mul")
_KEYS = {"op_types": "conv", "op_names": "conv_in_weight_to_fp16", "parameters": "mid_block.*"}
"""For an example of each level of overrides."""

Place = tuple[str, ...]
"""Where an option stands below its step: () or such as ("op_types", "conv")."""


def _operation(name: str) -> str:
    if name not in _OPERATIONS:
        raise wrong(
            f"'{name}' is not a type of operation with weights", *suggestion(name, _OPERATIONS), allowed(_OPERATIONS)
        )
    return name


_OperationName = Annotated[
    str, AfterValidator(_operation), WithJsonSchema({"type": "string", "enum": list(_OPERATIONS)})
]


@dataclass(frozen=True, slots=True)
class Storage:
    """How an element of a weight is stored after some steps, as far as that is known before the model is at hand."""

    bits: float
    """Of an element that is kept."""
    kept: float = 1.0
    """The share of elements that are kept; where it is not all of them, one more bit for each says which."""
    coded: str | None = None
    """What was done that left codes where numbers were, such as "palettized"; None: they are numbers still."""

    @property
    def size(self) -> float:
        """Bits an element, on average."""
        return self.bits * self.kept + (self.kept < 1)


class Override(Strict):
    """What may be said of some weights by any step; what is not said is as in the step around it."""

    min_elements: int | None = Field(
        default=None,
        ge=0,
        le=2**40,
        description="Leave tensors with fewer elements alone (coremltools' weight_threshold); default: 2048.",
    )


O = TypeVar("O", bound=Override)  # noqa: E741 - the type of a step's overrides


class Options(Override, Generic[O]):
    """What may be said of a step. A subclass adds the step's own options, all of which its overrides have, too."""

    version: ClassVar[int]
    """Of the step's code: another one compresses again what this step is for, and nothing else."""
    tools: ClassVar[tuple[str, ...]]
    """Distributions whose version shows in what the step writes."""
    example: ClassVar[Mapping[str, Any]]
    """Of an override."""

    embeddings: bool = Field(default=False, description="Also compress the tables that token ids are looked up in.")
    op_types: dict[_OperationName, O | None] = Field(
        default={}, description="What differs for the weights of a type of operation; null leaves them alone."
    )
    op_names: dict[str, O | None] = Field(
        default={},
        description="What differs for constants or operations of a name in the package, * and ? stand for anything; "
        "wins over op_types.",
    )
    parameters: dict[str, O | None] = Field(
        default={},
        description="What differs for parameters of a name in PyTorch, * and ? stand for anything; wins over op_names.",
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Give the levels examples that this step understands."""
        if "example" in vars(cls):
            for level, key in _KEYS.items():
                cls.model_fields[level].examples = [{key: dict(cls.example)}]

    @abstractmethod
    def features(self, before: Storage) -> Iterator[tuple[str, Place]]:
        """Keys of `targets.FEATURES` that a system must have for the step to follow what was done before.

        Each with the place of the option that asks for it.
        """

    @abstractmethod
    def own_settings(self) -> dict[str, Any]:
        """The step's own options with their defaults filled in, as `apply` of its file in `compress/steps/` takes them."""

    @abstractmethod
    def after(self, before: Storage, override: O | None = None) -> Storage:
        """What the step makes of a weight that it is for."""

    @abstractmethod
    def label(self, full: int) -> str:
        """A few words for a table of models; `full` is the number of bits of what is left alone."""

    def problem(self, before: Storage, kind: str) -> tuple[str, tuple[str, ...]] | None:
        """Why the step, of that name, can't follow what was done before: what is wrong, and notes; None if it can."""
        if before.coded is None:
            return None
        done = self.after(Storage(before.bits)).coded
        note = f"one {kind} step for each component" if done == before.coded else f"{kind} needs numbers, not codes"
        return f"is {before.coded} already", (note,)

    def settings(self) -> dict[str, Any]:
        """Every option with its default filled in, as the compress stage takes them; of an override what it says."""
        levels = {
            level: {key: override and override.model_dump(exclude_none=True) for key, override in overrides.items()}
            for level, overrides in self._levels().items()
            if overrides
        }
        least = _MIN_ELEMENTS if self.min_elements is None else self.min_elements
        return {**self.own_settings(), "embeddings": self.embeddings, "min_elements": least, **levels}

    def overrides(self) -> dict[Place, O | None]:
        """All of them, by place."""
        return {(level, key): each for level, overrides in self._levels().items() for key, each in overrides.items()}

    def _levels(self) -> dict[str, dict[str, O | None]]:
        return {"op_types": dict(self.op_types), "op_names": self.op_names, "parameters": self.parameters}

    def after_of_embeddings(self, before: Storage) -> Storage:
        """What the step makes of the tables that token ids are looked up in, which it may leave alone."""
        if "gather" not in self.op_types:
            return self.after(before) if self.embeddings else before
        override = self.op_types["gather"]
        return before if override is None else self.after(before, override)
