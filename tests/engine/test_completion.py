"""Completion: what is offered, and the scripts in the shells themselves, where these are installed."""

import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdbuild.engine import commands
from sdbuild.engine.cli import run
from sdbuild.engine.commands.completion import script
from sdbuild.engine.completion import candidates
from tests.engine.conftest import ROOT
from tests.engine.test_commands import RECIPE


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with recipes and others."""
    (tmp_path / "mine.yaml").write_text(f"{RECIPE}variants: [{{name: small, resolution: 256x256}}, {{name: smart}}]\n")
    (tmp_path / "broken.yaml").write_text("name: [")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/third.yaml").write_text(RECIPE)
    (tmp_path / "more/notes.txt").touch()
    return tmp_path


CASES = {
    "": [*commands.names(), "trace", "convert"],
    "bui": ["build"],
    "build mi": ["mine.yaml"],
    "build conf": ["config=", "config"],
    "build config=mi": ["config=mine.yaml"],
    "build --config mi": ["mine.yaml"],
    "build --config=mo": ["--config=more/"],
    "plan more/": ["more/third.yaml"],
    "validate shapes-": ["shapes-bits", "shapes-embedding", "shapes-night"],
    "build mine.yaml variant=s": ["variant=small", "variant=smart"],
    "build variant=s config=mine.yaml --variant sma": ["small", "smart"],
    "build mine.yaml convert:u": ["convert:unet@small", "convert:unet@smart"],
    "why mine.yaml task=bundle": ["task=bundle", "task=bundle@small", "task=bundle@smart"],
    "convert:unet mi": ["mine.yaml"],
    "build --js": ["--json"],
    "build json=": ["json=1"],
    "build -": ["-h", "--help", "--config", "-n", "--process", "-q"],
    "gc --d": ["--dry"],
    "devices iphone-15-pro": ["iphone-15-pro", "iphone-15-pro-max"],
    "help ver": ["verify"],
    "completion ": ["bash", "zsh", "fish"],
    "completion shell=b": ["shell=bash"],
    "completion --shell z": ["zsh"],
    "generate scheduler=dpmpp_k": ["scheduler=dpmpp_karras"],
    "generate --rng t": ["torch"],
    "generate precision=": ["precision=float16", "precision=float32"],
    "generate sizes=": ["sizes=app", "sizes=image"],
    "generate device=": ["device=cpu", "device=cuda", "device=mps"],
    "generate mine.yaml variant=a": ["variant=all"],
    "generate more/third.yaml variant=": [],
    "build mine.yaml variant=a": [],
    "build shapes variant=": [],
    "generate bundle=more/n": ["bundle=more/notes.txt"],
    "generate out=": ["out=more/"],
    "build broken.yaml variant=": [],
    "build config=none.yaml task": [],
    "xyzzy ": ["build"],
    "build confg=": [],
}


@pytest.mark.parametrize("line", CASES)
def test_what_is_offered(here: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    offered = candidates(line.split(" "), here)
    wanted = CASES[line]
    assert set(wanted) <= set(offered) and (wanted or not offered)
    assert all(each.startswith(line.split(" ")[-1]) for each in offered)
    if len(wanted) == 1 and line != "xyzzy ":
        assert offered == wanted


def test_variables_are_offered_once(here: Path) -> None:
    offered = candidates(["build", "mine.yaml", ""], here)
    assert "config=" not in offered and "variant=" in offered and "mine.yaml" not in offered and "convert" in offered


def test_the_command(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert run(["completion", shell], here) == 0
        assert capsys.readouterr().out == f"{script(shell, 'sdbuild')}\n"
    assert run(["completion"], here) == 3 and "such as `completion bash`: bash, zsh, fish\n" in capsys.readouterr().err
    assert run(["completion", "line=gen"], here) == 0 and capsys.readouterr().out == "generate\n"


@pytest.fixture
def environment(here: Path) -> dict[str, str]:
    """With the program `sdbuild` on the path."""
    program = here / "bin/sdbuild"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m sdbuild "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(here), "TERM": "dumb"}


def type_into(shell: list[str], keys: list[str], environment: dict[str, str], here: Path, wanted: str) -> str:
    """What a shell on a terminal shows until ``wanted`` is in it; each of the keys is typed once the shell is silent."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(here)
        os.execvpe(shell[0], shell, environment)
    shown = ""
    end = time.monotonic() + 60
    try:
        while wanted not in shown and time.monotonic() < end:
            if select.select([terminal], [], [], 1.5)[0]:
                shown += os.read(terminal, 4096).decode(errors="replace")
            elif keys:
                os.write(terminal, keys.pop(0).encode())
    except OSError:  # the shell has ended
        pass
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    return shown


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("sdbuild valid", ["validate"]),
        ("doit valid", ["validate"]),
        ("sdbuild build config=mi", ["mine.yaml"]),
        ("sdbuild build mine.yaml convert:u", ["unet@small", "unet@smart"]),
        (
            "sdbuild build --config ",
            ["broken.yaml", "mine.yaml", "more/", "shapes-bits", "shapes-embedding", "shapes-night"],
        ),
    ],
)
def test_bash(here: Path, environment: dict[str, str], line: str, reply: list[str]) -> None:
    program = line.split()[0]  # of a checkout's doit the rest is the same
    code = f"""{script("bash", program)}
        COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}
        _sdbuild sdbuild; printf '%s\\n' "${{COMPREPLY[@]}}"; complete -p {program}"""
    done = subprocess.run(["bash", "-c", code], cwd=here, env=environment, capture_output=True, text=True)
    *offered, registered = done.stdout.splitlines()
    assert set(reply) <= set(offered) and registered == f"complete -F _sdbuild {program}" and done.stderr == ""


def test_bash_on_a_terminal(here: Path, environment: dict[str, str]) -> None:
    keys = ['eval "$(sdbuild completion bash)"\n', "sdbuild plan config=mi\t"]
    assert "plan config=mine.yaml " in type_into(
        ["bash", "--norc", "--noprofile", "-i"], keys, environment, here, "config=mine.yaml "
    )


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_on_a_terminal(here: Path, environment: dict[str, str]) -> None:
    keys = ['eval "$(sdbuild completion zsh)"\n', "sdbuild plan config=mi\t"]
    assert "plan config=mine.yaml " in type_into(["zsh", "-f", "-i"], keys, environment, here, "config=mine.yaml ")


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize(
    ("line", "reply"), [("sdbuild valid", "validate"), ("sdbuild build config=mi", "config=mine.yaml")]
)
def test_fish(here: Path, environment: dict[str, str], line: str, reply: str) -> None:
    code = f"sdbuild completion fish | source; complete -C {shlex.quote(line)}"
    done = subprocess.run(["fish", "-N", "-c", code], cwd=here, env=environment, capture_output=True, text=True)
    assert done.stdout == f"{reply}\n"
