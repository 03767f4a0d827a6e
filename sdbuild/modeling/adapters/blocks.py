"""Weights by the blocks of a UNet, as people write them: lists of the block weight extension, and nested ones as in diffusers.

The extension's lists (sd-webui-lora-block-weight, "lbw") have a number for BASE, which is all that lies in no block, the text
encoders with it, and then for each input block, the middle, each output block, in CompVis' numbers. The short lists leave out
the blocks without attention.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sdbuild.errors import UserError
from sdbuild.modeling.adapters.ldm import ldm_names

_BLOCK = re.compile(r"(input|output)_blocks\.(\d+)\.|(middle_block)\.")
_LISTS = {
    12: ([4, 5, 7, 8], range(6)),
    17: ([1, 2, 4, 5, 7, 8], range(3, 12)),
    20: (range(9), range(9)),
    26: (range(12), range(12)),
}
"""By the length of a list, the input and the output blocks in it: 17 and 26 of Stable Diffusion 1 and 2, 12 and 20 of XL."""
_INPUT_BLOCKS = {12: 9, 20: 9, 17: 12, 26: 12}
"""How many input blocks a UNet has that a list is for."""
_LONG = {12: 20, 17: 26}
"""The lists that have all blocks, by the short ones."""


class BlockWeights:
    """By how much each layer's difference counts."""

    def __init__(self, settings: Mapping[str, Any], layers: Sequence[str]) -> None:
        """``settings``: ``place`` of the component; ``weight``, a number or blocks as in diffusers; ``blocks``, a list or None.

        Raises:
            UserError: blocks that the model has not.
        """
        self._weight, self._blocks = settings["weight"], settings.get("blocks")
        place = settings["place"]
        self._ldm = ldm_names(layers) if place == "unet" else {}
        if self._blocks is not None and place == "unet":
            self._check_length()
        if isinstance(self._weight, Mapping):
            self._check_blocks(layers)

    def of(self, layer: str) -> float:
        """A layer's weight. Raises UserError: a short list has no number for it."""
        weight = _nested(self._weight, layer) if isinstance(self._weight, Mapping) else float(self._weight)
        return weight * self._listed(layer) if self._blocks is not None else weight

    def _listed(self, layer: str) -> float:
        blocks = self._blocks
        assert blocks is not None
        found = _BLOCK.match(self._ldm.get(layer, ""))
        if found is None:
            return float(blocks[0])
        ins, outs = _LISTS[len(blocks)]
        if found[3]:
            return float(blocks[1 + len(ins)])
        side, number = found[1], int(found[2])
        numbers = ins if side == "input" else outs
        if number not in numbers:
            name = f"{'IN' if side == 'input' else 'OUT'}{number:02}"
            raise UserError(
                f"blocks: a list of {len(blocks)} has no number for {name}, which the file changes as well ({layer}); write "
                f"the {_LONG[len(blocks)]} of all blocks"
            )
        first = 1 if side == "input" else 2 + len(ins)
        return float(blocks[first + list(numbers).index(number)])

    def _check_length(self) -> None:
        counts = [int(found[2]) for name in self._ldm.values() if (found := _BLOCK.match(name)) and found[1] == "input"]
        there = max(counts, default=-1) + 1
        if there != _INPUT_BLOCKS[len(self._blocks or ())]:
            lengths = [str(length) for length, number in _INPUT_BLOCKS.items() if number == there]
            fits = f"a list for it has {' or '.join(lengths)} numbers" if lengths else "no list is for such a model"
            raise UserError(
                f"blocks: the model's UNet has {there} input blocks: {fits}, this one has {len(self._blocks or ())}"
            )

    def _check_blocks(self, layers: Sequence[str]) -> None:
        for side, inner in self._weight.items():
            if isinstance(inner, Mapping):
                for block, value in inner.items():
                    prefix = f"{side}_blocks.{block.removeprefix('block_')}."
                    own = [layer for layer in layers if layer.startswith(prefix)]
                    if not own:
                        raise UserError(f"weight: the model's UNet has no {block} in {side}")
                    parts = {m[1] for layer in own if (m := re.search(r"resnets\.(\d+)\.", layer))}
                    if isinstance(value, list | tuple) and len(value) != len(parts):
                        raise UserError(
                            f"weight: {block} in {side} has {len(parts)} layers, and there are {len(value)} numbers"
                        )


def _nested(weight: Mapping[str, Any], layer: str) -> float:
    """1 for what is not mentioned, as in diffusers."""
    side, _, rest = layer.partition("_block")
    value: Any = weight.get(side, 1.0) if rest else 1.0
    if isinstance(value, Mapping):
        number, _, rest = rest.removeprefix("s.").partition(".")
        value = value.get(f"block_{number}", 1.0)
    if isinstance(value, list | tuple):
        found = re.search(r"(?:attentions|resnets|downsamplers|upsamplers)\.(\d+)\.", layer)
        value = value[int(found[1])] if found else 1.0
    return float(value)
