"""The command ``verify``: a build whose models are compared with PyTorch, whether or not the recipe asks for it."""

from __future__ import annotations

from sdbuild.engine.command import CONFIG, JSON, LOG, OUT, VARIANT, Command
from sdbuild.engine.commands.build import run

COMMAND = Command(
    "verify",
    "Build",
    "compare what a build makes of a recipe with PyTorch, stage by stage",
    """Builds what is missing and runs every stage's artifact on the same inputs as the original in PyTorch: the table
has the PSNR, in dB, that each stage reaches, and of the image that the whole bundle generates. What falls short of
`verify: {min_psnr: …}` of the recipe ends with status 6.""",
    run,
    (CONFIG, VARIANT, OUT, LOG, JSON),
    (("verify mine.yaml", "compare all components, and the image"),),
    builds=True,
)
