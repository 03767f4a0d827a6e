"""Which compiler a build uses, and whether this machine has it: known before anything runs."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

from sdbuild.errors import UserError
from sdbuild.jobs.compile import Compiler


def find_compiler(choice: str) -> Compiler:
    """The compiler for a recipe's ``compile``: portable, xcode or auto.

    Raises:
        UserError: Xcode's compiler is asked for and not here.
    """
    if choice == "portable":
        return Compiler(compiler="portable")
    found = _xcode()
    if found is not None:
        return Compiler(compiler="xcode", version=found)
    if choice == "auto":
        return Compiler(compiler="portable")
    raise UserError(
        "compile: xcode: `xcrun --find coremlcompiler` finds nothing on this machine. Install Xcode (the command line tools "
        "alone don't have it) and run `sudo xcode-select -s /Applications/Xcode.app`, or write `compile: portable`"
    )


@functools.cache
def _xcode() -> str | None:
    """The version of the Xcode whose coremlcompiler would run; None when there is none."""
    if shutil.which("xcrun") is None:
        return None
    import plistlib
    import subprocess

    try:
        result = subprocess.run(
            ["xcrun", "--find", "coremlcompiler"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    tool = Path(result.stdout.strip())
    if result.returncode != 0 or not tool.is_file():
        return None
    for folder in tool.parents:
        try:
            with (folder / "version.plist").open("rb") as file:
                version = plistlib.load(file)
            return f"{version['CFBundleShortVersionString']} ({version['ProductBuildVersion']})"
        except (OSError, KeyError, plistlib.InvalidFileException):
            continue
    return "unknown"
