"""PEFT's names: its own wrapping, and the layer's path. Such a file is of one model, and only its layers say which."""

from collections.abc import Collection, Iterator

PREFIXES: dict[str, tuple[str, ...]] = {
    place: (f"{place}.base_model.model.",) for place in ("unet", "text_encoder", "text_encoder_2")
}
_OWN = "base_model.model."


def layers(place: str, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """``base_model.model.down_blocks.0.…``, with or without the component before it."""
    for layer in names:
        for call in (layer,) if place == "unet" else (layer, f"text_model.{layer}"):
            yield _OWN + call, layer
            yield f"{place}.{_OWN}{call}", layer
