"""LoRAs that make a model need few steps, and what they ask of whoever generates. Nothing heavy is imported here.

Nothing in their tensors tells them from others. They are recognized by words in names and in what a trainer wrote of them, and
what recognized them is always said. The numbers are those that their authors are known to recommend; their model cards have the
last word: latent-consistency/lcm-lora-sdxl, ByteDance/SDXL-Lightning, ByteDance/Hyper-SD, h1t/TCD-SDXL-LoRA, tianweiy/DMD2,
wangfuyun/PCM_Weights, jasperai/flash-sdxl, stabilityai/sdxl-turbo.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sdbuild.generate_variables import GUIDANCE, STEPS
from sdbuild.scheduler_kinds import SCHEDULERS

TITLES = ("ss_output_name", "modelspec.title")
"""Keys of a file's metadata that have the name it was trained or published under."""


@dataclass(frozen=True)
class Wants:
    """What a kind of distillation asks for."""

    kind: str
    """As its authors call it."""
    schedulers: tuple[str, ...]
    """Of `sdbuild.scheduler_kinds`, the authors' own first."""
    steps: tuple[int, int] = (2, 8)
    """From the one to the other."""
    guidance: tuple[float, float] = (0.0, 1.0)
    """Up to 1 is none."""
    timestep_spacing: str | None = None
    """Of the scheduler's configuration."""

    def data(self, by: str) -> dict[str, Any]:
        """As the manifest has it; ``by`` is what it was recognized by."""
        said = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {key: value for key, value in said.items() if value is not None} | {"recognized_by": by}

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Wants:
        """From what `data` made."""
        own: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        return cls(**{key: value for key, value in own.items() if key != "recognized_by"})

    def recommended(self) -> dict[str, Any]:
        """What to write under ``generate:``."""
        (few, many), (low, high) = self.steps, self.guidance
        guidance = 1 if low <= 1 else (low + high) / 2
        named = many == 2 * few  # the number in a name, see `_counted`
        return {
            "steps": few if named else min(max(4, few), many),
            "guidance": guidance,
            "scheduler": self.schedulers[0],
        }

    def text(self) -> str:
        """In words."""
        (few, many), (low, high) = self.steps, self.guidance
        steps = f"{few} to {many} steps" if few != many else f"{few} step{'s' if few > 1 else ''}"
        guidance = "no guidance" if high <= 1 else f"guidance {f'from {low:g}' if low > 1 else 'up'} to {high:g}"
        spacing = f", with timestep_spacing {self.timestep_spacing}" if self.timestep_spacing else ""
        return f"{steps}, {guidance}, and the scheduler {' or '.join(self.schedulers)}{spacing}"

    def missing(self, said: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
        """What is otherwise in ``said``, keys of ``generate:`` with their values, None for what is not said.

        ``config`` is the model's own configuration of the scheduler, as far as it is known.
        """
        found = []
        steps, guidance, scheduler = said.get("steps"), said.get("guidance"), said.get("scheduler")
        spacing, own = config.get("timestep_spacing"), config.get("_class_name")
        if not self.steps[0] <= (steps or STEPS) <= self.steps[1]:
            found.append(f"{steps or STEPS} steps{'' if steps else ' by default'}")
        given = GUIDANCE if guidance is None else guidance
        if not (self.guidance[0] if self.guidance[0] > 1 else 0) <= given <= self.guidance[1]:
            found.append(f"guidance of {given:g}{' by default' if guidance is None else ''}")
        if scheduler not in self.schedulers and (scheduler or own not in self._classes()):
            found.append(f"the scheduler {scheduler}" if scheduler else "the model's own scheduler by default")
        if self.timestep_spacing not in (None, spacing):
            found.append(f"timestep_spacing {spacing}" if spacing else "no timestep_spacing")
        return found

    def _classes(self) -> list[str]:
        return [SCHEDULERS[name].class_name for name in self.schedulers]

    def advice(self) -> str:
        """What to write."""
        wanted = ", ".join(f"{key}: {value}" for key, value in self.recommended().items())
        spacing = f", and scheduler: {{timestep_spacing: {self.timestep_spacing}}} under model:"
        return f"write generate: {{{wanted}}}{spacing if self.timestep_spacing else ''}"


def recognize(names: Iterable[tuple[str, str]]) -> tuple[Wants, str] | None:
    """The first kind that a name has words of, and which name that is; ``names`` are pairs of what a text is, and the text."""
    for what, text in names:
        plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
        found = next((wants for pattern, wants in _KINDS if re.search(pattern, plain)), None)
        if found is not None:
            return _counted(found, plain), f"{what}, {text}"
    return None


def _counted(wants: Wants, plain: str) -> Wants:
    """With the number of steps that a name has: of such a file as many, up to twice of them."""
    number = re.search(r"(?<![0-9])([0-9]{1,2})-?steps?(?![a-z])", plain)
    if number is None or not 1 <= int(number[1]) <= 16 or wants.kind == "TCD":
        return wants
    steps = int(number[1])
    if wants.kind == "Hyper-SD" and steps == 1:  # its LoRA of one step is for any number up to 8
        return Wants(wants.kind, ("tcd",), (1, 8))
    return Wants(wants.kind, wants.schedulers, (steps, 2 * steps), wants.guidance, wants.timestep_spacing)


def _word(text: str) -> str:
    return rf"(?<![a-z0-9]){text}(?![a-z0-9])"


_ORDINARY = ("euler", "ddim", "dpmpp", "euler_a")
_KINDS = (
    (r"hyper-?sd.*cfg", Wants("Hyper-SD with guidance", ("ddim", "euler", "dpmpp"), (8, 24), (3.0, 8.0), "trailing")),
    (r"hyper-?sd", Wants("Hyper-SD", ("ddim", "tcd", "euler"), (1, 8), timestep_spacing="trailing")),
    (r"sdxl-?lightning|lightning-[0-9]+-?step", Wants("Lightning", _ORDINARY, timestep_spacing="trailing")),
    (_word("dmd2?"), Wants("DMD2", ("lcm",), (4, 8))),
    (_word("pcm") + ".*lcm-?like", Wants("PCM", ("lcm",), (2, 16), (0.0, 2.0))),
    (_word("pcm") + ".*normal-?cfg", Wants("PCM", ("ddim", "tcd", "euler"), (2, 16), (0.0, 8.0), "trailing")),
    (_word("pcm"), Wants("PCM", ("ddim", "tcd", "euler"), (2, 16), (0.0, 2.0), "trailing")),
    (_word("tcd"), Wants("TCD", ("tcd",), (2, 50))),
    (_word("flash-?sd(xl|15|3)?"), Wants("Flash Diffusion", ("lcm",), (2, 8), timestep_spacing="trailing")),
    (_word("lcm(-?lora)?"), Wants("LCM", ("lcm",), (2, 8), (0.0, 2.0))),
    (
        r"(sd|sdxl|sd-xl|sd15|sd21?)-?turbo|turbo-?lora|lora-?turbo(?![a-z])",
        Wants("Turbo", ("euler_a", "euler", "dpmpp", "lcm"), (1, 8), timestep_spacing="trailing"),
    ),
)
"""Patterns of names, in small letters with hyphens between words, and what has such."""
