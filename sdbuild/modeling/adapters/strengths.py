"""How strong an adapter's layers are where its tensors don't say it: PEFT's configuration, in a file beside it or in its
metadata.

A layer's strength is alpha over its rank, or over the rank's root for rsLoRA (Kalajdzievski, 2023). Patterns of layers' names
have ranks and alphas of their own; a pattern fits a name or the end of one after a dot, as PEFT reads them.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sdbuild.errors import SourceError


@dataclass(frozen=True)
class Strengths:
    """By place, what `lora_alpha`, `alpha_pattern` and `use_rslora` say; "" for every place."""

    configs: Mapping[str, Mapping[str, Any]]

    def of(self, place: str, layer: str, rank: int) -> float | None:
        """A layer's, whose ``rank`` is 0 where its factors have none; None where nothing is said."""
        config = self.configs.get(place, self.configs.get("", {}))
        alpha = config.get("lora_alpha", config.get("alpha"))
        alpha = _by_pattern(config.get("alpha_pattern"), layer, alpha)
        rank = rank or int(_by_pattern(config.get("rank_pattern"), layer, config.get("r")) or 0)
        if alpha is None or not rank:
            return None
        return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


NO_STRENGTHS = Strengths({})


def read_strengths(where: str, config: Mapping[str, Any], places: tuple[str, ...] = ("",)) -> Strengths:
    """Of PEFT's ``adapter_config.json``, or of what diffusers writes into a file's metadata, where keys begin with the place.

    Raises:
        UserError: numbers that are none, or methods that no kind knows.
    """
    found = {}
    for place in places:
        prefix = f"{place}." if place else ""
        own = {key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)}
        if own:
            _check(where, own)
            found[place] = own
    return Strengths(found)


def _check(where: str, config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type", "LORA")
    if kind not in ("LORA", "LOHA", "LOKR"):
        raise SourceError(f"{where}: an adapter of PEFT's type {kind}; LORA, LOHA and LOKR can be merged")
    numbers = [config.get("lora_alpha"), config.get("alpha")]
    for key in ("alpha_pattern", "rank_pattern"):
        patterns = config.get(key) or {}
        if not isinstance(patterns, dict):
            raise SourceError(f"{where}: {key} is no table")
        numbers += patterns.values()
    for number in numbers:
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
            raise SourceError(f"{where}: {number!r} is no alpha or rank; the file is damaged: get it again")
    for key in ("bias", "fan_in_fan_out", "layer_replication", "alora_invocation_tokens"):
        if config.get(key) not in (None, False, "none", [], {}):
            raise SourceError(f"{where}: {key} is {config[key]!r}, which can't be merged")


def _by_pattern(patterns: Mapping[str, Any] | None, layer: str, usual: Any) -> Any:
    return next((value for pattern, value in (patterns or {}).items() if _fits(pattern, layer)), usual)


def _fits(pattern: str, layer: str) -> bool:
    try:
        return re.match(rf"(.*\.)?({pattern})$", layer) is not None
    except re.error:
        return False
