"""Models that several pipelines of Apple's Swift package open, as data: read off apple/ml-stable-diffusion @e12202c,
``swift/StableDiffusion/pipeline``.
"""

from sdbuild.bundle.rules import ANY, FLOAT32, Model, Port, Shape

LATENT: Shape = (4, "latent_height", "latent_width")
IMAGE: Shape = (3, "vae_factor*latent_height", "vae_factor*latent_width")
IDS = (Port("input_ids", (1, "tokens"), FLOAT32),)  # ids run past what float16 counts


def unet(name: str, batch: int | str, context: str, *more: Port, required: bool = True) -> Model:
    """A denoiser, whole or in two chunks; ``more`` are inputs beside the usual three."""
    return Model(
        name,
        inputs=(
            Port("sample", (batch, *LATENT), why="the app draws 4 channels of noise of the image's size", probed=True),
            Port("timestep", (batch,)),
            Port("encoder_hidden_states", (batch, context, 1, "tokens")),
            *more,
        ),
        outputs=(Port("noise_pred", (batch, *LATENT)),),
        required=required,
        chunkable=True,
    )


DECODER = Model("VAEDecoder", (Port("z", (1, *LATENT)),), (Port(None, (1, *IMAGE)),))
ENCODER = Model(
    "VAEEncoder",
    (Port(None, (1, *IMAGE), why="the app refuses images of any other size"),),
    (Port(None, (1, 8, *LATENT[1:]), why="the app reads 4 channels of means, then 4 of log-variances"),),
    required=False,
)
SAFETY_CHECKER = Model(
    "SafetyChecker",
    (Port("clip_input", (ANY,) * 4), Port("adjustment", (1,)), Port("images", (1, 512, 512, 3))),
    (Port("has_nsfw_concepts", None),),
    required=False,
    more_outputs=True,
)
CONTROLNET = Model(
    "controlnet",
    (*unet("", 2, "context").inputs, Port("controlnet_cond", (2, *IMAGE))),
    (),
    more_outputs=True,
)
"""Each of ``controlnet/*.mlmodelc``; what it gives, `rules.Pipeline.controlled` takes."""
