"""Which numbers of a ``scheduler_config.json`` make a schedule of noise. Nothing heavy is imported here."""

import math
from collections.abc import Mapping
from typing import Any


def find_fault(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first key whose number makes no schedule of noise, and what it must be; None where all of them do."""
    for key in ("beta_start", "beta_end"):
        if key in config and not (_is_number(config[key]) and 0 < config[key] < 1):
            return key, "a number above 0 and below 1"
    if config.get("beta_start", 0) > config.get("beta_end", 1):
        return "beta_start", "less than beta_end"
    steps = config.get("num_train_timesteps", 1000)
    if not (isinstance(steps, int) and not isinstance(steps, bool) and 1 <= steps <= 100_000):
        return "num_train_timesteps", "a whole number from 1 to 100,000"
    betas = config.get("trained_betas")
    if betas is not None and not (
        isinstance(betas, list) and betas and all(_is_number(beta) and 0 < beta <= 1 for beta in betas)
    ):
        return "trained_betas", "a list of numbers above 0 and up to 1"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -math.inf < value < math.inf
