"""ComfyUI's names: CompVis' path of the UNet's layer, with the prefix that it has in single files."""

from collections.abc import Collection, Iterator

from sdbuild.modeling.adapters.ldm import ldm_names

PREFIXES = {"unet": ("diffusion_model.", "model.diffusion_model.")}


def layers(place: str, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """``diffusion_model.input_blocks.1.1.…``."""
    if place == "unet":
        for layer, call in ldm_names(names).items():
            for prefix in PREFIXES[place]:
                yield prefix + call, layer
