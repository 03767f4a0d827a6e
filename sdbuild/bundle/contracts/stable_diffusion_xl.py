"""``StableDiffusionXLPipeline`` of the Swift package."""

from dataclasses import replace

from sdbuild.bundle.rules import ANY, END, START, Model, Pipeline, Port
from sdbuild.bundle.swift import DECODER, ENCODER, IDS, unet


def _time_ids(count: int) -> Port:
    return Port("time_ids", (2, count), why="the app knows base model and refiner by 6 or 5 numbers a row", probed=True)


def _text_encoder_xl(name: str, context: str, pooled: int | str) -> Model:
    hidden = (Port("hidden_embeds", (1, "tokens", context)), Port("pooled_outputs", (1, pooled)))
    return Model(name, IDS, hidden, more_outputs=True)


CONTRACT = Pipeline(
    models=(
        _text_encoder_xl("TextEncoder", "context_1", ANY),
        _text_encoder_xl("TextEncoder2", "context_2", "pooled"),
        unet(
            "Unet",
            2,
            "context_1+context_2",
            _time_ids(6),
            Port("text_embeds", (2, "pooled")),
        ),
        unet(
            "UnetRefiner",
            2,
            "context_2",
            _time_ids(5),
            Port("text_embeds", (2, "pooled")),
            required=False,
        ),
        replace(DECODER, overflows=True),
        replace(ENCODER, overflows=True),
    ),
    vocabulary=(START, END, "!"),  # the second text encoder's padding
)
