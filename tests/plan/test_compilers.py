"""Which compiler a build gets, told before anything runs."""

import plistlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdbuild.errors import UserError
from sdbuild.jobs.compile import Compiler
from sdbuild.plan import compilers
from sdbuild.plan.compilers import find_compiler


@pytest.fixture(autouse=True)
def look_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only the tools that a test makes are on the path, and nothing found before is remembered."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    compilers._xcode.cache_clear()
    yield
    compilers._xcode.cache_clear()


def install_xcode(folder: Path, answer: str) -> None:
    xcrun = folder / "xcrun"
    xcrun.write_text(f"#!/bin/sh\n{answer}\n")
    xcrun.chmod(0o755)


@pytest.mark.skipif(Path("/usr/bin/xcrun").exists(), reason="there is an Xcode here")
def test_without_xcode_auto_is_portable_and_xcode_an_error() -> None:
    assert find_compiler("portable") == find_compiler("auto") == Compiler(compiler="portable")
    with pytest.raises(UserError, match=r"^compile: xcode: .*write `compile: portable`$"):
        find_compiler("xcode")


def test_the_command_line_tools_alone_dont_do(tmp_path: Path) -> None:
    install_xcode(tmp_path, 'echo "xcrun: error: unable to find utility coremlcompiler" >&2; exit 72')
    with pytest.raises(UserError, match="Install Xcode"):
        find_compiler("xcode")
    assert find_compiler("auto") == Compiler(compiler="portable")


def test_xcode_is_known_by_its_version(tmp_path: Path) -> None:
    contents = tmp_path / "Xcode.app/Contents"
    tool = contents / "Developer/usr/bin/coremlcompiler"
    tool.parent.mkdir(parents=True)
    tool.touch()
    with (contents / "version.plist").open("wb") as file:
        plistlib.dump({"CFBundleShortVersionString": "16.4", "ProductBuildVersion": "16F6"}, file)
    install_xcode(tmp_path, f"echo {tool}")
    assert find_compiler("auto") == find_compiler("xcode") == Compiler(compiler="xcode", version="16.4 (16F6)")
    assert find_compiler("portable") == Compiler(compiler="portable")
