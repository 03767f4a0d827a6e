"""What ``doit generate`` was asked for: variables read strictly, before anything heavy is loaded."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from sdbuild.errors import Mistakes, UsageError
from sdbuild.generate.options import Options, check_seed, check_text
from sdbuild.generate_variables import CHOICES, VARIABLES
from sdbuild.quantities import size_bytes
from sdbuild.standins import ENOUGH, stand_in

MAX_COUNT = 1000
_MEANT = {
    "precision": "float32, or float16 to round as a device does",
    "prediction": " or ".join(CHOICES["prediction"]),
}
T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """A command line, understood. ``out`` is None for the default folder, ``memory`` in bytes."""

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    options: Options
    precision: str
    device: str
    memory: int | None
    out: Path | None
    prediction: str | None = None
    vae_scale: float | None = None


def read_request(variables: Mapping[str, str], here: Path) -> Request:
    """Read the variables of a user who stands in ``here``.

    Raises:
        UsageError: unknown variables, or values that cannot be: all of them at once.
    """
    mistakes = Mistakes()
    given = {}
    for name, value in variables.items():
        with mistakes:
            _check_variable(name, value)
            given[name] = value

    def read(reader: Callable[..., T], *arguments: Any, instead: T) -> T:
        """What is read; ``instead``, where there is a mistake, to look for others."""
        with mistakes:
            return reader(*arguments)
        return instead

    seed = read(_whole, given, "seed", 93, instead=93)
    count = read(_count, given, instead=1)
    with mistakes:
        check_seed(seed, count)
    numbers: dict[str, Any] = {
        "steps": read(_whole, given, "steps", instead=None) if "steps" in given else None,
        **{name: read(_number, given, name, instead=None) for name in ("guidance", "strength", "vae_scale")},
    }
    vae_scale = numbers.pop("vae_scale")
    options = read(_options, given, numbers, here, instead=Options())
    for name in ("precision", "prediction"):
        with mistakes:
            _check_choice(given, name)
    memory = read(size_bytes, "memory", given["memory"], instead=None) if "memory" in given else None
    prompts: tuple[str, ...] = ()
    if {"prompt", "prompts"}.isdisjoint(variables.keys() - given.keys()):
        prompts = read(_prompts, given, here, instead=prompts)
    mistakes.check()
    return Request(
        prompts=prompts,
        seeds=tuple(range(seed, seed + count)),
        options=options,
        precision=given.get("precision", "float32"),
        device=given.get("device", "cpu"),
        memory=memory,
        out=here / given["out"] if "out" in given else None,
        prediction=given.get("prediction"),
        vae_scale=vae_scale,
    )


def _check_variable(name: str, value: str) -> None:
    if name not in VARIABLES:
        near = get_close_matches(name, VARIABLES, n=1, cutoff=0.7)
        hint = f": did you mean '{near[0]}'?" if near else ""
        raise UsageError(f"unknown variable '{name}'{hint}\n`generate` takes {', '.join(f'{v}=' for v in VARIABLES)}")
    if not value.strip() and name != "negative":
        raise UsageError(f"{name}= is empty; {VARIABLES[name]}")


def _check_choice(given: Mapping[str, str], name: str) -> None:
    if name in given and given[name] not in CHOICES[name]:
        raise UsageError(f"{name}={given[name]}: choose {_MEANT[name]}")


def _count(given: Mapping[str, str]) -> int:
    count = _whole(given, "count", 1)
    if not 1 <= count <= MAX_COUNT:
        raise UsageError(f"count={count}: must be from 1 to {MAX_COUNT}")
    return count


def _options(given: Mapping[str, str], numbers: Mapping[str, Any], here: Path) -> Options:
    return Options(
        negative=given.get("negative", ""),
        scheduler=given.get("scheduler"),
        rng=given.get("rng", "numpy"),  # type: ignore[arg-type]  # Options checks it
        image=here / given["image"] if "image" in given else None,
        sizes=_sizes(given.get("sizes")),
        **numbers,
    )


def _prompts(variables: Mapping[str, str], here: Path) -> tuple[str, ...]:
    if "prompt" in variables and "prompts" in variables:
        raise UsageError("give prompt= or prompts=, not both")
    if "prompt" in variables:
        check_text("prompt", variables["prompt"])
        return (variables["prompt"],)
    if "prompts" not in variables:
        raise UsageError(
            'say what to generate, such as prompt="a photo of a cat", or prompts=FILE with a prompt on each line'
        )
    path = here / variables["prompts"]
    try:
        content = path.read_bytes()
        if content and (wrong := stand_in(content[:ENOUGH])):
            raise UsageError(f"prompts={path}: it {wrong}")
        lines = [line.strip() for line in content.decode("utf-8-sig").splitlines()]
    except OSError as error:
        raise UsageError(f"prompts={path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UsageError(f"prompts={path}: is not UTF-8 text") from None
    prompts = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not prompts:
        raise UsageError(f"prompts={path}: there is no prompt in it; write one on each line")
    for prompt in prompts:
        check_text("prompts", prompt)
    return prompts


def _whole(variables: Mapping[str, str], name: str, default: int = 0) -> int:
    text = variables.get(name, str(default))
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        raise UsageError(f"{name}={text}: must be a whole number")
    return int(text)


def _number(variables: Mapping[str, str], name: str) -> float | None:
    if name not in variables:
        return None
    try:
        return float(variables[name])
    except ValueError:
        raise UsageError(f"{name}={variables[name]}: must be a number, such as 7.5") from None


def _sizes(text: str | None) -> str | int | None:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,18}", text) else text
