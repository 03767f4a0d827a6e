"""What ``doit generate`` was asked for: variables read strictly, before anything heavy is loaded."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from sdbuild.errors import UsageError
from sdbuild.generate.options import PREDICTIONS, Options, check_seed, check_text
from sdbuild.generate_variables import VARIABLES
from sdbuild.quantities import size_bytes
from sdbuild.standins import ENOUGH, stand_in

MAX_COUNT = 1000


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
        UserError: an unknown variable, or a value that cannot be.
    """
    for name, value in variables.items():
        if name not in VARIABLES:
            near = get_close_matches(name, VARIABLES, n=1, cutoff=0.7)
            hint = f": did you mean '{near[0]}'?" if near else ""
            raise UsageError(
                f"unknown variable '{name}'{hint}\n`generate` takes {', '.join(f'{v}=' for v in VARIABLES)}"
            )
        if not value.strip() and name != "negative":
            raise UsageError(f"{name}= is empty; {VARIABLES[name]}")
    seed = _whole(variables, "seed", 93)
    count = _whole(variables, "count", 1)
    if not 1 <= count <= MAX_COUNT:
        raise UsageError(f"count={count}: must be from 1 to {MAX_COUNT}")
    check_seed(seed, count)
    options = Options(
        negative=variables.get("negative", ""),
        steps=_whole(variables, "steps") if "steps" in variables else None,
        guidance=_number(variables, "guidance"),
        scheduler=variables.get("scheduler"),
        rng=variables.get("rng", "numpy"),  # type: ignore[arg-type]  # Options checks it
        image=here / variables["image"] if "image" in variables else None,
        strength=_number(variables, "strength"),
        sizes=_sizes(variables.get("sizes")),
    )
    precision = variables.get("precision", "float32")
    if precision not in ("float32", "float16"):
        raise UsageError(f"precision={precision}: choose float32, or float16 to round as a device does")
    if variables.get("prediction", PREDICTIONS[0]) not in PREDICTIONS:
        raise UsageError(f"prediction={variables['prediction']}: choose {' or '.join(PREDICTIONS)}")
    return Request(
        prompts=_prompts(variables, here),
        seeds=tuple(range(seed, seed + count)),
        options=options,
        precision=precision,
        device=variables.get("device", "cpu"),
        memory=size_bytes("memory", variables["memory"]) if "memory" in variables else None,
        out=here / variables["out"] if "out" in variables else None,
        prediction=variables.get("prediction"),
        vae_scale=_number(variables, "vae_scale"),
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
