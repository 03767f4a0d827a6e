"""``StableDiffusionPipeline`` of the Swift package, for Stable Diffusion 1 and 2."""

from sdbuild.bundle.rules import ANY, Model, Pipeline, Port
from sdbuild.bundle.swift import DECODER, ENCODER, IDS, SAFETY_CHECKER, unet

_TEXT_ENCODER = Model("TextEncoder", IDS, (Port("last_hidden_state", (1, "tokens", "context")),), more_outputs=True)
_PROJECTION = Model(
    "MultilingualTextEncoderProjection", (Port(None, (1, 256, ANY)),), (Port(None, (1, "context", 1, 256)),)
)
_DIFFUSION_MODELS = (unet("Unet", "batch", "context"), DECODER, ENCODER, SAFETY_CHECKER)
_BATCHES = {"batch": (1, 2)}
_CONTROLLED = unet("ControlledUnet", 2, "context")

CONTRACT = Pipeline(
    models=(_TEXT_ENCODER, *_DIFFUSION_MODELS),
    choices=_BATCHES,
    controlled=_CONTROLLED,
    multilingual=Pipeline(
        models=(_PROJECTION, *_DIFFUSION_MODELS),
        vocabulary=None,
        sizes={"tokens": 256},
        choices=_BATCHES,
        controlled=_CONTROLLED,
    ),
)
