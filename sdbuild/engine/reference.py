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
_TABLE = re.compile(r"(<!-- commands: [^\n]* -->\n).*?(<!-- end -->)", re.DOTALL)
_OPENING = """\
# Commands

Written by `python -m sdbuild.engine.reference` from the commands' own help, which `sdbuild help` prints.
"""


def table() -> str:
    """The commands with their summaries, in Markdown."""
    summaries = [command.summary.replace("<", r"\<") for command in commands.every()]  # no HTML
    rows = [f"| `doit {name}` | {summary} |" for name, summary in zip(commands.names(), summaries, strict=True)]
    return "\n".join(("| command | does |", "|---|---|", *rows, ""))


def pages() -> dict[Path, str]:
    """Each file with the text that it should have."""
    readme = _ROOT / "README.md"
    former = readme.read_text(encoding="utf-8")
    blocks = [_OPENING, f"```\n{help.general()}\n```\n"]
    blocks += [f"## {each.name}\n\n```\n{help.of_command(each)}\n```\n" for each in commands.every()]
    return {
        readme: _TABLE.sub(lambda match: f"{match[1]}{table()}{match[2]}", former),
        _ROOT / "docs" / "commands.md": "\n".join(blocks),
    }


def main(arguments: list[str]) -> int:
    """Write the files; with ``--check`` only report those that are out of date."""
    status = 0
    for path, text in pages().items():
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"{path}: out of date; run python -m sdbuild.engine.reference", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
