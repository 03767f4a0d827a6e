"""diffusers' schedulers by short names. Nothing heavy is imported here."""

import difflib
import inspect
from collections.abc import Mapping
from typing import Any

from sdbuild.errors import UsageError, UserError
from sdbuild.scheduler_kinds import SCHEDULERS, Kind, key_of, own_kind, plain


def find_scheduler(name: str) -> str:
    """The key of `SCHEDULERS` for a name as people write it: ``Euler-A``, ``DPMSolverMultistep``, ``DDIMScheduler``.

    Raises:
        UserError: there is no such scheduler; the nearest one is suggested.
    """
    if (found := key_of(name)) is not None:
        return found
    near = difflib.get_close_matches(plain(name), [plain(key) for key in SCHEDULERS], n=1)
    hint = "".join(f": did you mean '{key}'?" for key in SCHEDULERS if near == [plain(key)])
    raise UsageError(f"scheduler={name}: unknown{hint}\nSchedulers: {', '.join(SCHEDULERS)}")


def choose_kind(name: str | None, numbers: Mapping[str, Any]) -> Kind:
    """The kind that a key of `SCHEDULERS` names; None stands for the model's own.

    Raises:
        UserError: the model's own class is not among `SCHEDULERS`.
    """
    kind = own_kind(numbers) if name is None else SCHEDULERS[name]
    if kind.class_name not in (known.class_name for known in SCHEDULERS.values()):
        raise UserError(
            f"the model's own scheduler {kind.class_name} is not supported: choose another with scheduler=…, one of "
            f"{', '.join(SCHEDULERS)}"
        )
    return kind


def unread(scheduler: Any, numbers: Mapping[str, Any]) -> list[str]:
    """What the user should know: that a scheduler's class has no place for something that the model was trained with."""
    known = inspect.signature(type(scheduler).__init__).parameters
    wanted = {
        "prediction_type": numbers.get("prediction_type", "epsilon") != "epsilon",
        "rescale_betas_zero_snr": bool(numbers.get("rescale_betas_zero_snr")),
        "timestep_spacing": numbers.get("timestep_spacing") == "trailing",
    }
    return [
        f"{type(scheduler).__name__} leaves the model's {key}: {str(numbers[key]).lower()} unread; use scheduler=ddim or "
        "euler for it"
        for key, matters in wanted.items()
        if matters and key not in known
    ]
