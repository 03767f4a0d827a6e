"""Whatever stands in a model's configurations, the answer is a component to trace or one clear line."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdbuild.errors import UserError
from sdbuild.modeling.tracing import trace
from sdbuild.recipe import load_family
from sdbuild.recipe.family import every_family
from sdbuild.sources.survey import Family, Wanted, survey
from tests.architectures import Shape, build
from tests.matrix.models import SD1, SDXL
from tests.sources.mutated import MemorySource, mutated

MODELS = {"sd1": SD1, "sdxl": SDXL}
SHAPE = Shape(64, 64, 2)
FAMILIES = {name: family.recognition for name, family in every_family().items()}


def answer(family: str, seed: int) -> dict[str, str] | str:
    """What survey finds in a mutated model, or what it says."""
    known = load_family(family)
    given = Family(
        family,
        known.vae_factor,
        known.vae_scale,
        known.latent_channels,
        known.tokenizers,
        known.scheduler,
        known.tokens,
        {part.folder: part.model_class for part in known.text_encoders.values()},
        known.components["unet"].options.get("image_sizes", 0),
        known.latent_statistics,
    )
    wanted = {
        part.folder: Wanted(part.folder, part.model_class, part.role, part.source)
        for part in known.components.values()
        if part.folder in MODELS[family].parts
    }
    source = MemorySource(mutated(family, random.Random(seed)))
    told: list[str] = []
    try:
        texts = survey(
            source, {}, wanted, given, FAMILIES, False, lambda *step: None, told.append, {"vae_decoder": "float16"}
        )
    except UserError as error:
        told.append(str(error))
        return _printable(told)
    _printable(told)
    for path, text in texts.items():
        text.encode()
        if path.endswith(".json"):
            json.loads(text)
    return texts


def _printable(told: list[str]) -> str:
    for line in told:
        assert line.isprintable()
        assert line.encode()
        assert len(line) < 1000
    return "\n".join(told)


def built(family: str, texts: dict[str, str], place: Path | None = None) -> str:
    """What building its components comes to: on the meta device, and traced where there is a place to write to."""
    try:
        for folder, (kind, original) in MODELS[family].parts.items():
            config: dict[str, Any] = json.loads(texts[f"components/{folder}/config.json"])
            component = build(kind, config, SHAPE)
            if place is not None and config != original:
                trace(component, place / "graph.json")
    except UserError as error:
        return _printable([str(error)])
    return ""


FUZZ = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
CASES = st.tuples(st.sampled_from(sorted(MODELS)), st.integers(0, 2**32))


@settings(max_examples=500, **FUZZ)
@given(CASES)
def test_mutated_models(case: tuple[str, int]) -> None:
    answer(*case)


@settings(max_examples=50, **FUZZ)
@given(CASES)
def test_mutated_models_as_far_as_they_can_be_built(case: tuple[str, int]) -> None:
    texts = answer(*case)
    if isinstance(texts, dict):
        built(case[0], texts)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_many_mutated_models(part: int, tmp_path: Path) -> None:
    for seed in range(part * 1000, part * 1000 + 1000):
        family = ("sd1", "sdxl")[seed % 2]
        texts = answer(family, seed)
        if isinstance(texts, dict) and seed % 10 < 2:
            built(family, texts, tmp_path if seed % 100 < 2 else None)
