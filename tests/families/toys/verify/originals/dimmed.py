"""The same in the library's words."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from sdbuild.modeling import library
from sdbuild.verify.originals import Forward


def build(config: Mapping[str, Any], *, gain: float, vae_scale: float | None = None) -> tuple[nn.Module, Forward]:
    model: Any = library.vae(config)

    def forward(z: Tensor) -> Sequence[Tensor]:
        return (model.decode(z).sample * gain,)

    return model, forward
