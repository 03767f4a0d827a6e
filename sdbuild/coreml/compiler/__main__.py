"""``python -m sdbuild.coreml.compiler PACKAGE OUT.mlmodelc``: compile a package, on any system."""

from collections.abc import Sequence
from pathlib import Path

from sdbuild.coreml.compiler import compile_package
from sdbuild.errors import Status, UsageError, UserError
from sdbuild.parser import Parser
from sdbuild.program import complain, run_program


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    parser = Parser(
        prog="python -m sdbuild.coreml.compiler",
        description="Compile an .mlpackage with an ML Program to an .mlmodelc folder, on any system.",
    )
    parser.add_argument("package", metavar="PACKAGE", type=Path, help="the .mlpackage folder")
    parser.add_argument("out", metavar="OUT.mlmodelc", type=Path, help="the folder to make")
    parser.add_argument(
        "--build-info",
        metavar="KEY=VALUE",
        action="append",
        help="an entry of the program's buildInfo, in place of the one that names this compiler; may be repeated",
    )
    options = parser.parse_args(arguments)
    try:
        build_info = None if options.build_info is None else dict(map(_entry, options.build_info))
        compile_package(options.package, options.out, build_info=build_info)
    except UserError as error:
        complain(str(error))
        return error.status
    return Status.DONE


def _entry(argument: str) -> tuple[str, str]:
    key, equals, value = argument.partition("=")
    if not key or not equals:
        raise UsageError(f"--build-info {argument}: expected KEY=VALUE")
    return key, value


if __name__ == "__main__":
    run_program(main)
