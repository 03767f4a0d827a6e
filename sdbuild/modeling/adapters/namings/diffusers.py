"""diffusers' names: the component, and the layer's path; for the UNet the component is missing in the oldest files.

Before 0.20 attention's layers were said to be those of a *processor*, ``attn1.processor.to_q_lora``, and a text encoder's were
called as the UNet's.
"""

from collections.abc import Collection, Iterator

PREFIXES = {"unet": ("unet.",), "text_encoder": ("text_encoder.",), "text_encoder_2": ("text_encoder_2.",)}
_OF_ENCODERS = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}


def layers(place: str, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """``unet.down_blocks.0.…``, ``text_encoder.text_model.encoder.layers.0.…``."""
    for layer in names:
        parent, _, last = layer.rpartition(".")
        if place != "unet":
            for path in (layer, f"{parent}.{_OF_ENCODERS[last]}" if last in _OF_ENCODERS else None):
                if path is not None:
                    yield f"{place}.text_model.{path}", layer
                    yield f"{place}.{path}", layer
            continue
        calls = [layer]
        if last in ("to_q", "to_k", "to_v"):
            calls.append(f"{parent}.processor.{last}")
        elif layer.endswith(".to_out.0"):
            calls.append(f"{layer.removesuffix('.to_out.0')}.processor.to_out")
        for call in calls:
            yield f"unet.{call}", layer
            yield call, layer
