"""compile: a package to the ``.mlmodelc`` folder that apps load, by the portable compiler or by Xcode's."""

import shutil
import subprocess

from sdbuild.coreml.compiler import compile_package
from sdbuild.errors import UserError
from sdbuild.jobs.compile import Compile
from sdbuild.stages import Place, packages_in


def run(job: Compile, place: Place) -> None:
    """Write ``<package>.mlmodelc``."""
    (source,) = packages_in(job.package.path)
    if job.compiler.compiler == "portable":
        compile_package(source, place.output / f"{source.stem}.mlmodelc", weights="link")
        return
    xcrun = shutil.which("xcrun")
    if xcrun is None:
        raise UserError("compile: xcode: xcrun is not on this machine; say `compile: portable` in the recipe")
    command = [xcrun, "coremlcompiler", "compile", str(source), str(place.output)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise UserError(
            f"compile: coremlcompiler failed on {source.name}: {result.stderr.strip() or result.stdout.strip()}"
        )
