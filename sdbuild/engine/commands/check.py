"""The command ``check``: every byte of the store compared with what was noted when it was made."""

from __future__ import annotations

import os
import stat
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from sdbuild.engine.answer import Answer
from sdbuild.engine.arguments import Arguments
from sdbuild.engine.command import JSON, Command
from sdbuild.engine.progress import make_display, size
from sdbuild.errors import Status
from sdbuild.program import complain
from sdbuild.recipe.problems import display

if TYPE_CHECKING:
    from sdbuild.store import Artifact, Store
    from sdbuild.store.integrity import Damage

_MOST = 20  # artifacts named


def run(arguments: Arguments, here: Path) -> Answer:
    """Read all artifacts; those that are damaged are made again by the next build that needs them.

    What links lead to, the user's own models, is left out: they may change, and builds compare them with care.
    """
    from sdbuild.store import open_store
    from sdbuild.store.errors import explained
    from sdbuild.store.integrity import find_strangers

    store = open_store()
    with store.in_use() or nullcontext():
        artifacts = sorted(store.artifacts(), key=lambda artifact: artifact.path)
        unknown = len(list(store.root.glob("artifacts/*/*.json"))) - len(artifacts)
        damages = _read(artifacts, _stream(arguments)) + [
            damage for artifact in artifacts for damage in find_strangers(artifact)
        ]
        with explained(store.root):
            noted = _condemn(store, damages) if damages else True
    where, total = display(store.root), _bytes(artifacts)
    wrong: dict[Path, list[Damage]] = defaultdict(list)
    for damage in damages:
        wrong[damage.artifact.path].append(damage)
    data = {
        "store": str(store.root),
        "artifacts": len(artifacts),
        "bytes": total,
        "unreadable_stamps": unknown,
        "damaged": [_as_data(path, found) for path, found in sorted(wrong.items())],
    }
    text = []
    if unknown:
        text.append(
            f"{_count(unknown)} in {where} with a stamp that this version of sdbuild can't read: builds make it again"
        )
    if not damages:
        text.append(f"{_count(len(artifacts))} in {where}, {size(total)}: every byte is as it was made")
        return Answer("\n".join(text), data)
    complain(f"{len(wrong)} of {_count(len(artifacts))} in {where} damaged; {_advice(wrong, noted)}")
    return Answer("\n".join(text), data, Status.FAILED)


def _as_data(path: Path, found: list[Damage]) -> dict[str, Any]:
    stamp = found[0].artifact.stamp
    return {"stage": stamp.stage, "artifact": path.name, "made_for": stamp.made_for, "damage": list(map(str, found))}


def _advice(wrong: Mapping[Path, list[Damage]], noted: bool) -> str:
    lines = [
        f"\n  {found[0].artifact.stamp.stage} {path.name[:12]} ({found[0].artifact.stamp.made_for}): {found[0]}"
        + (f", and {len(found) - 1} more" if len(found) > 1 else "")
        for path, found in sorted(wrong.items())[:_MOST]
    ]
    more = f"\n  and {len(wrong) - _MOST} more" if len(wrong) > _MOST else ""
    then = (
        "the next build that needs them makes them again"
        if noted
        else "nothing may be written there, so builds don't know: its owner should run `check`"
    )
    return f"{then}. If it goes on, test the disk and the memory of this machine{''.join(lines)}{more}"


def _stream(arguments: Arguments) -> TextIO:
    """Where progress is shown."""
    return sys.stderr if arguments.variables.get("json") == "1" else sys.stdout


def _read(artifacts: list[Artifact], stream: TextIO) -> list[Damage]:
    from sdbuild.store.integrity import find_damage

    shown = make_display(stream)
    try:
        shown.start("check", "read the store")
        return find_damage(
            ((artifact, None) for artifact in artifacts),
            linked=False,
            jobs=os.cpu_count() or 1,
            progress=lambda done, total: shown.news("check", done, total, "B"),
        )
    finally:
        shown.close()


def _condemn(store: Store, damages: list[Damage]) -> bool:
    """Whether it could be noted."""
    from sdbuild.store.errors import UNWRITABLE
    from sdbuild.store.integrity import condemn

    try:
        condemn(store, damages)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        return False
    return True


def _bytes(artifacts: Iterable[Artifact]) -> int:
    """Of their files on the disk: hard links are counted once, and what links lead to is not."""
    from sdbuild.store.digest import inode

    found = {}
    for artifact in artifacts:
        for file in artifact.stamp.files:
            with suppress(OSError):  # it is missing, which is reported
                status = (artifact.path / file.path).lstat()
                if not stat.S_ISLNK(status.st_mode):
                    found[inode(status)] = status.st_size
    return sum(found.values())


def _count(number: int) -> str:
    return f"{number} artifact{'' if number == 1 else 's'}"


COMMAND = Command(
    "check",
    "Clean up",
    "read the whole store and compare every byte with what was made",
    """What is damaged is named, and made again by the next build that needs it. A build itself checks what its stages
read; this reads everything. Links to models of your own are left out: they may change, and builds compare them with
care.""",
    run,
    (JSON,),
    (("check", "read the store with all processors"),),
)
