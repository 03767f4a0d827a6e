"""The command ``devices``: the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbuild.engine.answer import Answer
from sdbuild.engine.arguments import Arguments, unknown
from sdbuild.engine.command import JSON, Command, Variable
from sdbuild.engine.progress import size
from sdbuild.engine.table import table


def run(arguments: Arguments, here: Path) -> Answer:
    """Devices with what naming them in a recipe stands for. Raises UserError."""
    from sdbuild.recipe.catalogue import catalogue

    known = catalogue().devices
    wanted = arguments.variables.get("device")
    if wanted is not None and wanted not in known:
        raise unknown("device", wanted, known, "`devices` lists all of them")
    devices = [_device(name) for name in ([wanted] if wanted else known)]
    rows = [
        (
            each["name"],
            each["title"],
            each["chip"],
            f"{each['memory_gb']} GB",
            size(each["budget_bytes"]) if each["budget_bytes"] else "",
            f"{each['first_os']}–{each['last_os'] or ''}",
            each["os"],
            each["compute_units"],
            each["attention"],
        )
        for each in devices
    ]
    heads = ("device", "title", "chip", "memory", "a model", "systems", "os", "compute units", "attention")
    text = table([heads, *rows], indent="")
    about = "a model: what its weights may take in memory before iOS is likely to end the app; os to attention: the defaults"
    return Answer(f"{text}\n{about}", {"devices": devices})


def _device(name: str) -> Mapping[str, Any]:
    from sdbuild.recipe.catalogue import catalogue
    from sdbuild.recipe.rules_size import app_budget

    device, chip = catalogue().devices[name], catalogue().chip(name)
    return {
        "name": name,
        "title": device.title,
        "chip": chip.title,
        "memory_gb": device.memory,
        "budget_bytes": app_budget(device),
        "first_os": device.first_os,
        "last_os": device.last_os,
        "os": device.default_target.name,
        "compute_units": chip.compute_units,
        "attention": "original" if chip.compute_units == "cpuAndGPU" else "split_einsum",
        "supported": chip.supported,
    }


COMMAND = Command(
    "devices",
    "Ask",
    "the devices that a recipe can name, with their memory, systems and recommended settings",
    """`target: {device: NAME}` in a recipe stands for the device's system and compute units; which variant of split_einsum is
best depends on the family, too, and is chosen where the recipe says nothing. With a name: that device alone.""",
    run,
    (Variable("device", "one device instead of all", kind="device", bare=True), JSON),
    (("devices", "all of them"), ("devices iphone-15-pro", "one of them")),
)
