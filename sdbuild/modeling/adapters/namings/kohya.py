"""kohya-ss' names: a prefix for the component, and the layer's path with underscores.

The UNet's layers are called as diffusers calls them, or as CompVis does, which is usual for SDXL. ``lora_te_`` is the first
text encoder of an SDXL model, too. LyCORIS on its own writes ``lycoris_`` and no component.
"""

from collections.abc import Collection, Iterator

from sdbuild.modeling.adapters.ldm import ldm_names

PREFIXES = {
    "unet": ("lora_unet_", "lycoris_unet_", "lycoris_"),
    "text_encoder": ("lora_te1_", "lora_te_", "lycoris_te1_", "lycoris_te_", "lycoris_"),
    "text_encoder_2": ("lora_te2_", "lycoris_te2_", "lycoris_"),
}


def layers(place: str, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """``lora_unet_down_blocks_0_…``, ``lora_unet_input_blocks_1_1_…``, ``lora_te1_text_model_encoder_layers_0_…``."""
    ldm = ldm_names(names) if place == "unet" else {}
    for layer in names:
        calls = [layer, ldm.get(layer)] if place == "unet" else [f"text_model.{layer}", layer]
        for call in filter(None, calls):
            for prefix in PREFIXES[place]:
                yield prefix + call.replace(".", "_"), layer
