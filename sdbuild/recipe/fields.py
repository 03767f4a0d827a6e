"""The parts that recipes and families share: strict models, names, image sizes."""

import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

EVERYTHING = "*"
"""The key that a number alone stands under, where each thing may have one of its own."""

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,63}"
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
_MAX_SIDE = 4096  # pixels; above it the activations of one convolution outgrow every device


Revision = Annotated[str, Field(min_length=1, max_length=200)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{64}$"), AfterValidator(str.lower)]


class Strict(BaseModel):
    """A frozen model that takes no unknown keys and no values of a neighbouring type.

    The modules with many of them have Python evaluate annotations: pydantic, given them as text, takes several times as long.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, defer_build=True
    )  # built by what is read with it


class Sourced(Strict):
    """What names a source of its own."""

    source: str = Field(min_length=1, description="Hub id (org/name), folder, or single file.")
    revision: Revision | None = Field(default=None, description="Commit, tag or branch on the hub; pin the commit.")
    sha256: Sha256 | None = Field(default=None, description="Of the file at an address (https://…), which needs it.")


def offer(schema: dict[str, Any], values: list[str]) -> None:
    """Offer values to an editor, in a field's JSON Schema."""
    for branch in schema.get("anyOf", [schema]):
        if branch.get("type") == "string":
            branch["enum"] = values


def _exactly(value: Any) -> Any:
    return value if type(value) is int else str(value)


WHOLE = BeforeValidator(_exactly)
"""For a ``Literal`` of numbers, to which true and 1.0 would be 1."""


def wrong(message: str, *notes: str) -> PydanticCustomError:
    """The error that a validator raises: what is wrong, then notes on what is allowed."""
    return PydanticCustomError("sdbuild", "{message}", {"message": message, "notes": notes})


def check_name(name: str) -> str:
    """A name that can be a folder on every system and a word on a command line. Raises what `wrong` makes."""
    if re.fullmatch(NAME_PATTERN, name):
        return name
    better = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:64]
    hint = (f"did you mean '{better}'?",) if better else ()
    raise wrong(
        "a name has small letters, digits, '.', '_' and '-', starts with a letter or digit, and is 64 long at most",
        *hint,
    )


class Resolution(Strict):
    """The size of the generated image, in pixels."""

    width: int = Field(ge=8, le=_MAX_SIDE, description="Width in pixels.")
    height: int = Field(ge=8, le=_MAX_SIDE, description="Height in pixels.")

    def __str__(self) -> str:
        """`512x768`: width, then height."""
        return f"{self.width}x{self.height}"


def _from_text(text: str) -> dict[str, int]:
    match = _SIZE.fullmatch(text)
    if match and text == f"{int(match[1])}x{int(match[2])}" and "0" not in match.groups():
        return {"width": int(match[1]), "height": int(match[2])}
    numbers = [int(number) for number in re.findall(r"[0-9]{1,5}", text)]
    better = (f"did you mean '{numbers[0]}x{numbers[1]}'?",) if len(numbers) == 2 and all(numbers) else ()
    raise wrong("an image size is written WIDTHxHEIGHT, in pixels", *better, "for example 512x512")


def form(value: Any) -> str | None:
    """How a value that has a short and a long form was written: the tag of its union."""
    if isinstance(value, str):
        return "text"
    return "mapping" if isinstance(value, dict) else None


_ShortResolution = Annotated[
    Resolution,
    BeforeValidator(_from_text),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,3}x[1-9][0-9]{0,3}$", "examples": ["512x512"]}),
]
ResolutionField = Annotated[
    Annotated[_ShortResolution, Tag("text")] | Annotated[Resolution, Tag("mapping")], Discriminator(form)
]
