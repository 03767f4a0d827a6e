"""Ways to break a bundle's interfaces, each with the line that the contract check has for it."""

from collections.abc import Callable

from tests.bundle import models
from tests.bundle.models import Interface, Ports

Models = dict[str, Interface]
PIPELINES: dict[str, tuple[str, Callable[[], Models]]] = {
    "whole": ("sd1", models.diffusion),
    "extras": ("sd2", models.with_extras),
    "chunked": ("sd2", models.chunked),
    "controlled": ("sd1", models.controlled),
    "multilingual": ("sd1", models.multilingual),
    "xl": ("sdxl", models.xl),
    "refined": ("sdxl", models.refined),
}


def rename(ports: Ports, old: str, new: str) -> None:
    ports[new] = ports.pop(old)


def reshape(ports: Ports, **shapes: tuple[int, ...]) -> None:
    ports.update({name: (ports[name][0] if name in ports else "Float16", shape) for name, shape in shapes.items()})


def retype(ports: Ports, kind: str, *names: str) -> None:
    ports.update({name: (kind, ports[name][1]) for name in names})


Break = Callable[[Models], object]
INTERFACES: dict[str, tuple[str, Break, str]] = {
    # which files
    "no-text-encoder": (
        "whole",
        lambda m: m.pop("TextEncoder"),
        "TextEncoder.mlmodelc: missing",
    ),
    "no-unet": (
        "whole",
        lambda m: m.pop("Unet"),
        "Unet.mlmodelc: missing",
    ),
    "second-text-encoder-missing": (
        "xl",
        lambda m: m.pop("TextEncoder2"),
        "TextEncoder2.mlmodelc: missing",
    ),
    "lone-chunk": (
        "chunked",
        lambda m: m.pop("UnetChunk1"),
        "UnetChunk1.mlmodelc: missing beside UnetChunk2.mlmodelc",
    ),
    "lone-chunk-beside-whole": (
        "whole",
        lambda m: m.update(UnetChunk2=models.chunked()["UnetChunk2"]),
        "UnetChunk1.mlmodelc: missing beside UnetChunk2.mlmodelc",
    ),
    "whole-beside-chunks": (
        "chunked",
        lambda m: m.update(models.diffusion()),
        "Unet.mlmodelc: superfluous",
    ),
    "wrong-case": (
        "whole",
        lambda m: m.update(vaedecoder=m.pop("VAEDecoder")),
        "VAEDecoder.mlmodelc: missing, though vaedecoder.mlmodelc is there",
    ),
    "wrong-case-of-optional": (
        "extras",
        lambda m: m.update(vaeencoder=m.pop("VAEEncoder")),
        "vaeencoder.mlmodelc: not a name that the app opens",
    ),
    "unknown-model": (
        "whole",
        lambda m: m.update(UNet2=m["Unet"]),
        "UNet2.mlmodelc: not a name that the app opens",
    ),
    "controlled-without-controlnet": (
        "controlled",
        lambda m: m.pop("controlnet/Canny"),
        "ControlledUnet.mlmodelc: superfluous without controlnet/",
    ),
    "controlnet-without-controlled": (
        "controlled",
        lambda m: m.pop("ControlledUnet"),
        "ControlledUnet.mlmodelc: missing",
    ),
    # names and numbers of inputs and outputs
    "two-decoder-inputs": (
        "whole",
        lambda m: reshape(m["VAEDecoder"].inputs, scale=(1,)),
        "VAEDecoder.mlmodelc: has 2 inputs: scale, z",
    ),
    "two-noise-outputs": (
        "whole",
        lambda m: m["Unet"].outputs.update(extra=("Float32", (1,))),
        "Unet.mlmodelc: has 2 outputs: extra, noise_pred",
    ),
    "input-ids-renamed": (
        "whole",
        lambda m: rename(m["TextEncoder"].inputs, "input_ids", "ids"),
        "TextEncoder.mlmodelc: the input is called ids",
    ),
    "noise-renamed": (
        "whole",
        lambda m: rename(m["Unet"].outputs, "noise_pred", "noise"),
        "Unet.mlmodelc: the output is called noise",
    ),
    "hidden-state-renamed": (
        "whole",
        lambda m: rename(m["TextEncoder"].outputs, "last_hidden_state", "hidden"),
        "TextEncoder.mlmodelc: lacks the output last_hidden_state",
    ),
    "no-timestep": (
        "whole",
        lambda m: m["Unet"].inputs.pop("timestep"),
        "Unet.mlmodelc: lacks the input timestep",
    ),
    "extra-unet-input": (
        "whole",
        lambda m: reshape(m["Unet"].inputs, mask=(2, 1, 8, 16)),
        "Unet.mlmodelc: has the input mask",
    ),
    "no-pooled-outputs": (
        "xl",
        lambda m: m["TextEncoder2"].outputs.pop("pooled_outputs"),
        "TextEncoder2.mlmodelc: lacks the output pooled_outputs",
    ),
    "no-text-embeds": (
        "xl",
        lambda m: m["Unet"].inputs.pop("text_embeds"),
        "Unet.mlmodelc: lacks the input text_embeds",
    ),
    "no-concepts": (
        "extras",
        lambda m: m["SafetyChecker"].outputs.pop("has_nsfw_concepts"),
        "SafetyChecker.mlmodelc: lacks the output has_nsfw_concepts",
    ),
    "residual-not-taken": (
        "controlled",
        lambda m: m["ControlledUnet"].inputs.pop("mid"),
        "ControlledUnet.mlmodelc: lacks the input mid",
    ),
    # shapes
    "short-prompt": (
        "whole",
        lambda m: reshape(m["TextEncoder"].inputs, input_ids=(1, 64)),
        "TextEncoder.mlmodelc: the input input_ids is [1, 64], not [1, 77]",
    ),
    "context-of-another-encoder": (
        "whole",
        lambda m: reshape(m["Unet"].inputs, encoder_hidden_states=(2, 8, 1, 77)),
        "Unet.mlmodelc: the input encoder_hidden_states is [2, 8, 1, 77], not [2, 6, 1, 77]",
    ),
    "context-as-in-torch": (
        "whole",
        lambda m: reshape(m["Unet"].inputs, encoder_hidden_states=(2, 77, 6)),
        "Unet.mlmodelc: the input encoder_hidden_states is [2, 77, 6], not [2, 6, 1, 77]",
    ),
    "context-of-one-encoder": (
        "xl",
        lambda m: reshape(m["Unet"].inputs, encoder_hidden_states=(2, 10, 1, 77)),
        "Unet.mlmodelc: the input encoder_hidden_states is [2, 10, 1, 77], not [2, 16, 1, 77]",
    ),
    "pooled-of-another-encoder": (
        "xl",
        lambda m: reshape(m["Unet"].inputs, text_embeds=(2, 6)),
        "Unet.mlmodelc: the input text_embeds is [2, 6], not [2, 12]",
    ),
    "inpainting-unet": (
        "whole",
        lambda m: reshape(m["Unet"].inputs, sample=(2, 9, 8, 16)),
        "Unet.mlmodelc: the input sample is [2, 9, 8, 16], not [2, 4, 8, 16]",
    ),
    "latents-turned": (
        "whole",
        lambda m: reshape(m["Unet"].inputs, sample=(2, 4, 16, 8)),
        "Unet.mlmodelc: the input sample is [2, 4, 16, 8], not [2, 4, 8, 16]",
    ),
    "timestep-of-other-batch": (
        "whole",
        lambda m: reshape(m["Unet"].inputs, timestep=(1,)),
        "Unet.mlmodelc: the input timestep is [1], not [2]",
    ),
    "refiner-as-base": (
        "xl",
        lambda m: reshape(m["Unet"].inputs, time_ids=(2, 5)),
        "Unet.mlmodelc: the input time_ids is [2, 5], not [2, 6]",
    ),
    "flat-time-ids": (
        "xl",
        lambda m: reshape(m["Unet"].inputs, time_ids=(12,)),
        "Unet.mlmodelc: the input time_ids is [12], not [2, 6]",
    ),
    "decoder-of-other-size": (
        "whole",
        lambda m: reshape(m["VAEDecoder"].inputs, z=(1, 4, 8, 8)),
        "VAEDecoder.mlmodelc: the input z is [1, 4, 8, 8], not [1, 4, 8, 16]",
    ),
    "decoder-of-other-factor": (
        "whole",
        lambda m: reshape(m["VAEDecoder"].outputs, image=(1, 3, 32, 64)),
        "VAEDecoder.mlmodelc: the output image is [1, 3, 32, 64], not [1, 3, 64, 128]",
    ),
    "encoder-of-means-alone": (
        "extras",
        lambda m: reshape(m["VAEEncoder"].outputs, latent=(1, 4, 8, 16)),
        "VAEEncoder.mlmodelc: the output latent is [1, 4, 8, 16], not [1, 8, 8, 16]",
    ),
    "encoder-of-other-size": (
        "extras",
        lambda m: reshape(m["VAEEncoder"].inputs, x=(1, 3, 64, 64)),
        "VAEEncoder.mlmodelc: the input x is [1, 3, 64, 64], not [1, 3, 64, 128]",
    ),
    "flat-clip-input": (
        "extras",
        lambda m: reshape(m["SafetyChecker"].inputs, clip_input=(3, 14, 14)),
        "SafetyChecker.mlmodelc: the input clip_input is [3, 14, 14], not [*, *, *, *]",
    ),
    "residual-of-other-shape": (
        "controlled",
        lambda m: reshape(m["ControlledUnet"].inputs, mid=(2, 7, 8, 16)),
        "ControlledUnet.mlmodelc: the input mid is [2, 7, 8, 16], not [2, 7, 4, 8]",
    ),
    "controlnet-of-other-size": (
        "controlled",
        lambda m: reshape(m["controlnet/Canny"].inputs, controlnet_cond=(2, 3, 64, 64)),
        "controlnet/Canny.mlmodelc: the input controlnet_cond is [2, 3, 64, 64], not [2, 3, 64, 128]",
    ),
    "projection-of-other-width": (
        "multilingual",
        lambda m: reshape(m["MultilingualTextEncoderProjection"].outputs, projected=(1, 8, 1, 256)),
        "Unet.mlmodelc: the input encoder_hidden_states is [2, 6, 1, 256], not [2, 8, 1, 256]",
    ),
    # element types
    "float16-output": (
        "whole",
        lambda m: retype(m["VAEDecoder"].outputs, "Float16", "image"),
        "VAEDecoder.mlmodelc: the output image is Float16",
    ),
    "float16-output-unread": (
        "whole",
        lambda m: retype(m["TextEncoder"].outputs, "Float16", "pooled_outputs"),
        "TextEncoder.mlmodelc: the output pooled_outputs is Float16",
    ),
    "float16-link": (
        "chunked",
        lambda m: retype(m["UnetChunk1"].outputs, "Float16", "mid_link"),
        "UnetChunk1.mlmodelc: the output mid_link is Float16",
    ),
    "float16-ids": (
        "whole",
        lambda m: retype(m["TextEncoder"].inputs, "Float16", "input_ids"),
        "TextEncoder.mlmodelc: the input input_ids is Float16",
    ),
    "whole-number-sample": (
        "whole",
        lambda m: retype(m["Unet"].inputs, "Int32", "sample"),
        "Unet.mlmodelc: the input sample is Int32",
    ),
    "xl-decoder-in-float16": (
        "xl",
        lambda m: retype(m["VAEDecoder"].inputs, "Float16", "z"),
        "VAEDecoder.mlmodelc: computes in Float16",
    ),
    # chunks
    "sample-not-in-chunk-1": (
        "chunked",
        lambda m: m["UnetChunk1"].inputs.pop("sample"),
        "UnetChunk1.mlmodelc: lacks the input sample",
    ),
    "context-in-no-chunk": (
        "chunked",
        lambda m: m["UnetChunk1"].inputs.pop("encoder_hidden_states"),
        "UnetChunk1.mlmodelc: lacks the input encoder_hidden_states, and so does chunk 2",
    ),
    "link-not-given": (
        "chunked",
        lambda m: rename(m["UnetChunk2"].inputs, "mid_link", "other_link"),
        "UnetChunk2.mlmodelc: has the input other_link",
    ),
    "link-of-other-shape": (
        "chunked",
        lambda m: reshape(m["UnetChunk2"].inputs, mid_link=(2, 5, 8, 8)),
        "UnetChunk2.mlmodelc: the input mid_link is [2, 5, 8, 8], [2, 5, 4, 4] as UnetChunk1.mlmodelc gives it",
    ),
    "link-in-whole-numbers": (
        "chunked",
        lambda m: retype(m["UnetChunk2"].inputs, "Int32", "mid_link"),
        "UnetChunk2.mlmodelc: the input mid_link is Int32",
    ),
    "link-called-as-an-input": (
        "chunked",
        lambda m: m["UnetChunk1"].outputs.update(timestep=("Float32", (2,))),
        "UnetChunk1.mlmodelc: has the output timestep",
    ),
    "chunk-1-input-not-passed": (
        "chunked",
        lambda m: reshape(m["UnetChunk1"].inputs, mask=(2, 1, 8, 16)),
        "UnetChunk1.mlmodelc: has the input mask",
    ),
    "chunk-2-of-other-size": (
        "chunked",
        lambda m: reshape(m["UnetChunk2"].inputs, sample=(2, 4, 8, 8)),
        "UnetChunk2.mlmodelc: the input sample is [2, 4, 8, 8], not [2, 4, 8, 16]",
    ),
    "chunk-2-without-noise": (
        "chunked",
        lambda m: m["UnetChunk2"].outputs.update(extra=("Float32", (1,))),
        "UnetChunk2.mlmodelc: has 2 outputs: extra, noise_pred",
    ),
}
