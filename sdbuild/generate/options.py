"""How to generate, checked, whether it comes from Python or from a command line. Nothing heavy is imported here."""

import math
import os
import sys
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import get_args

from sdbuild.errors import Mistakes, UsageError
from sdbuild.flow.facts import Rng
from sdbuild.generate.schedulers import find_scheduler
from sdbuild.generate_variables import CHOICES, MAX_GUIDANCE, MAX_STEPS

PREDICTIONS = CHOICES["prediction"]
MAX_SEED = 2**32 - 1
MIN_SCALE, MAX_SCALE = 1e-3, 1e3
"""What latent images may be multiplied by: as far as models are built with it."""
STRENGTH = 0.6
APP_SIZE = 1024
"""What the Swift package gives the UNet of SDXL for every size, unless the app sets ``originalSize`` and ``targetSize``."""
MAX_SIZE = 8192


@dataclass(frozen=True)
class Options:
    """How to generate; all images of one run share them.

    Attributes:
        negative: what the images should be unlike.
        steps: of the scheduler; None: as the bundle says, which is 20 if it says nothing.
        guidance: how far to go from the negative prompt to the prompt. 1 and below: the prompt alone, in half the time.
            None: as the bundle says, which is 7.5 if it says nothing.
        scheduler: see `SCHEDULERS`; None: as the bundle says, which is the model's own if it says nothing.
        rng: "numpy" for the numbers of Apple's packages, "torch" for those of diffusers.
        image: an image to start from.
        strength: how much of ``image`` to make new, above 0 and up to 1; None: 0.6.
        sizes: what SDXL's UNet is given for the original and the target size: "image" (or None), height and width of the
            image as they are; "app", 1024 for both, as the Swift package does by default; or a number for
            both, as an app can set it.
    """

    negative: str = ""
    steps: int | None = None
    guidance: float | None = None
    scheduler: str | None = None
    rng: Rng = "numpy"
    image: Path | None = None
    strength: float | None = None
    sizes: str | int | None = None

    def __post_init__(self) -> None:
        """Check all values.

        Raises:
            UserError: some are out of their range, or have no meaning beside another.
        """
        mistakes = Mistakes()
        for check in (
            self._check_negative,
            self._check_guidance,
            self._check_steps,
            self._check_scheduler,
            self._check_rng,
            self._check_sizes,
            self._check_image,
        ):
            with mistakes:
                check()
        mistakes.check()

    def _check_negative(self) -> None:
        check_text("negative", self.negative)

    def _check_guidance(self) -> None:
        if self.guidance is not None:
            check_range("guidance", self.guidance, 0, MAX_GUIDANCE)
            if self.negative and self.guidance <= 1:
                raise UsageError(
                    f"negative=: has no effect at guidance {self.guidance:g}; guidance must be above 1 for it"
                )

    def _check_steps(self) -> None:
        if self.steps is not None:
            check_whole("steps", self.steps)
            check_range("steps", self.steps, 1, MAX_STEPS)

    def _check_scheduler(self) -> None:
        if self.scheduler is not None:
            _check_word("scheduler", self.scheduler)
            find_scheduler(self.scheduler)

    def _check_rng(self) -> None:
        if self.rng not in get_args(Rng):
            raise UsageError(f"rng={self.rng}: choose numpy (as in Apple's packages) or torch (as in diffusers)")

    def _check_sizes(self) -> None:
        if self.sizes is not None and not isinstance(self.sizes, str):
            check_whole("sizes", self.sizes)
            check_range("sizes", self.sizes, 1, MAX_SIZE)
        elif self.sizes not in (None, "image", "app"):
            raise UsageError(
                f"sizes={self.sizes}: choose image (the image's own), app (the Swift package's {APP_SIZE} for both sides), or "
                "a number for both sides"
            )

    def _check_image(self) -> None:
        if self.image is not None and not isinstance(self.image, str | os.PathLike):
            raise UsageError(f"image={self.image!r:.40}: must be the path of an image")
        if self.strength is not None:
            _check_real("strength", self.strength)
            if self.image is None:
                raise UsageError("strength=: says how much of an image to make new; give image= too, or leave it out")
            if not 0 < self.strength <= 1:
                raise UsageError(f"strength={self.strength:g}: must be above 0 (the image as it is) and at most 1")

    def sizes_for(self, height: int, width: int) -> tuple[int, int]:
        """What the UNet of SDXL is given for an image of ``height`` × ``width``."""
        if self.sizes in (None, "image"):
            return height, width
        side = APP_SIZE if isinstance(self.sizes, str) else self.sizes
        assert side is not None
        return side, side


def check_seed(seed: int, count: int = 1) -> None:
    """Raise UserError for a seed, the first of ``count``, that NumPy's generator does not take."""
    check_whole("seed", seed)
    most = MAX_SEED - count + 1
    if count > 1 and not 0 <= seed <= most:
        raise UsageError(f"seed={seed}: with count={count} it must be from 0 to {most}")
    check_range("seed", seed, 0, most)


def check_whole(name: str, value: object) -> None:
    """Raise UserError for what is no whole number; NumPy's are."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise UsageError(f"{name}={value!r:.40}: must be a whole number")


def _check_real(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UsageError(f"{name}={value!r:.40}: must be a number")


def _check_word(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise UsageError(f"{name}={value!r:.40}: must be text")


def check_text(name: str, text: str) -> None:
    """Raise UserError for a prompt that is no text, or such as no PNG can hold."""
    _check_word(name, text)
    try:
        text.encode()
    except UnicodeEncodeError:
        if (encoding := sys.getfilesystemencoding()) != "utf-8":
            raise UsageError(
                f"{name}=: this locale can't carry it, as its encoding is {encoding}: set LANG and LC_ALL to one with UTF-8, "
                "such as C.UTF-8"
            ) from None
        raise UsageError(f"{name}=: is not valid UTF-8") from None
    if "\0" in text:
        raise UsageError(f"{name}=: has a NUL character in it")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise UserError for a number outside of [low, high], and for what is none."""
    _check_real(name, value)
    if not (math.isfinite(value) and low <= value <= high):
        raise UsageError(f"{name}={value:.12g}: must be from {low:g} to {high:.12g}")
