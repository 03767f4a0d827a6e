"""The names that CompVis' code, and with it single files and many LoRAs, has for the layers of a UNet that diffusers names
otherwise.

Both number the same layers: ``input_blocks`` and ``output_blocks`` count the residual blocks, and the samplers after them,
through all levels.
"""

import re
from collections.abc import Collection

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_REST = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_MIDDLE = {"resnets.0": "middle_block.0", "attentions.0": "middle_block.1", "resnets.1": "middle_block.2"}
_PLACE = re.compile(
    r"(?P<side>down_blocks|up_blocks|mid_block)\.((?P<level>\d+)\.)?"
    r"(?P<part>resnets|attentions|downsamplers|upsamplers)\.(?P<number>\d+)\.(?P<inner>.+)"
)


def ldm_names(layers: Collection[str]) -> dict[str, str]:
    """CompVis' name of every layer of a UNet that has one, by diffusers' name."""
    found = [(layer, _PLACE.fullmatch(layer)) for layer in layers]
    lengths: dict[tuple[str, int], int] = {}
    for _, place in found:
        if place and place["part"] == "resnets" and place["level"] is not None:
            key = place["side"], int(place["level"])
            lengths[key] = max(lengths.get(key, 0), int(place["number"]) + 1)
    attending = {(p["side"], p["level"]) for _, p in found if p and p["part"] == "attentions"}
    names = {layer: _REST[layer] for layer in layers if layer in _REST}
    for layer, place in found:
        if place and (name := _name(place, lengths, (place["side"], place["level"]) in attending)):
            names[layer] = name
    return names


def _name(place: re.Match[str], lengths: dict[tuple[str, int], int], attends: bool) -> str | None:
    side, part, number = place["side"], place["part"], int(place["number"])
    inner = _RESNET.get(place["inner"]) if part == "resnets" else place["inner"]
    if inner is None:
        return None
    if side == "mid_block":
        block = _MIDDLE.get(f"{part}.{number}")
        return f"{block}.{inner}" if block else None
    level, down = int(place["level"]), side == "down_blocks"
    before = sum(lengths.get((side, each), 0) + down for each in range(level))
    if part in ("resnets", "attentions"):
        return f"{'input' if down else 'output'}_blocks.{before + number + down}.{int(part == 'attentions')}.{inner}"
    last = before + lengths.get((side, level), 0)
    if down:
        return f"input_blocks.{last + 1}.0.op" if inner == "conv" else None
    return f"output_blocks.{last - 1}.{1 + attends}.{inner}"
