"""The commands in README.md and docs/commands.md, from what they say of themselves.

``python -m sdbuild.engine.reference`` writes both, in a checkout; ``--check`` only says whether they are up to date.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sdbuild.engine import commands, help
from sdbuild.program import run_program

_ROOT = Path(__file__).resolve().parents[2]
_MARKED = re.compile(r"(<!-- written by [^\n]* -->\n).*?(<!-- end -->)", re.DOTALL)


def table() -> str:
    """The commands with their summaries, in Markdown."""
    summaries = [command.summary.replace("<", r"\<") for command in commands.every()]  # no HTML
    rows = [f"| `doit {name}` | {summary} |" for name, summary in zip(commands.names(), summaries, strict=True)]
    return "\n".join(("| command | does |", "|---|---|", *rows, ""))


def texts() -> str:
    """The help of every command, in Markdown."""
    blocks = [f"```\n{help.general()}\n```\n"]
    blocks += [f"## {each.name}\n\n```\n{help.of_command(each)}\n```\n" for each in commands.every()]
    return "\n".join(blocks)


def pages() -> dict[Path, str]:
    """Each file with the text that it should have."""
    found = {}
    for path, text in ((_ROOT / "README.md", table()), (_ROOT / "docs" / "commands.md", texts())):
        former = path.read_text(encoding="utf-8")
        found[path] = _MARKED.sub(lambda match, text=text: f"{match[1]}{text}{match[2]}", former)  # type: ignore[misc]
    return found


def main(arguments: list[str]) -> int:
    """Write the files; with ``--check`` only report those that are out of date."""
    status = 0
    for path, text in pages().items():
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
        elif path.read_text(encoding="utf-8") != text:
            print(f"{path}: out of date; run python -m sdbuild.engine.reference", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
