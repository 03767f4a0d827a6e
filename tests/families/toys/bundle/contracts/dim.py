"""As Stable Diffusion's, but the decoder is all."""

from dataclasses import replace

from sdbuild.bundle.contracts import stable_diffusion

CONTRACT = replace(
    stable_diffusion.CONTRACT,
    models=tuple(each for each in stable_diffusion.CONTRACT.models if each.name == "VAEDecoder"),
)
