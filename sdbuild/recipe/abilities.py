"""Words of what sdbuild does not do: who writes one means that, and not the known word that is spelt most like it.

When it learns to, its entry goes.
"""

from __future__ import annotations

from collections.abc import Iterable

_MISSING = {
    "ipadapter t2iadapter photomaker instantid": "sdbuild builds no image adapters",
    "controlnet controlnets controlnetxs": "sdbuild builds no ControlNet",
    "refiner": "sdbuild builds no refiner of SDXL, only its base",
    "inpaint inpainting outpaint outpainting": "sdbuild builds no inpainting models",
    "upscale upscaler upscaling superresolution esrgan realesrgan": "sdbuild builds no upscalers",
    "animatediff motionmodule svd video": "sdbuild builds nothing that moves",
    "sd3 sd35 stablediffusion3 flux flux1 pixart sana kandinsky wuerstchen cascade hunyuan auraflow kolors dit mmdit": (
        "sdbuild builds Stable Diffusion 1, 2 and XL, no other family"
    ),
    "lcm turbo lightning hyper": "sdbuild builds such a model like any other of its family: name that, and it as `source`",
    "quantize quantization quantise int8 int4 w8a8 linearquantize gptq awq gguf fp8 nf4": (
        "sdbuild does not quantize linearly; palettize with 8 or 4 bits instead"
    ),
    "prune pruning sparsity sparse sparsify": "sdbuild does not prune; palettize instead",
    "mixedbit mixedbits mixedbitpalettization mbp": (
        "sdbuild does not choose bits for each weight; say them by name under `op_names:` or `parameters:` of palettize"
    ),
    "distill distillation finetune train training": "sdbuild trains nothing",
    "tome tokenmerging deepcache hypertile freeu": "sdbuild builds a model as it is, without shortcuts in its arithmetic",
}
_WORDS = {word: words.split() for words in _MISSING for word in words.split()}
_WHY = {word: why for words, why in _MISSING.items() for word in words.split()}


def missing(word: str, known: Iterable[str] = ()) -> str | None:
    """What to say of a word, its case and marks looked through, that stands for something sdbuild does not do.

    None where one of the ``known`` words, which may be written in its place, stands for the same thing.
    """
    plain = "".join(character for character in word[:80].lower() if character.isalnum())
    return None if any(each in _WORDS.get(plain, ()) for each in known) else _WHY.get(plain)
