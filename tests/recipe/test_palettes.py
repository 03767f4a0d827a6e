"""What a palettize step amounts to: settings for the stage, features for the rules, bits for the plan."""

from pathlib import Path

import pytest

from sdbuild.recipe import load_recipe
from sdbuild.recipe.compression import Step
from sdbuild.recipe.family import load_family
from sdbuild.recipe.sizes import weight_bytes
from sdbuild.recipe.step import Storage
from sdbuild.recipe.steps.palettize import Palettize

RECIPE = """
name: x
pipeline: sd1
model: {source: builtin:shapes}
target: {os: iOS18}
compress:
  unet:
    - palettize:
        bits: 4
        granularity: per_grouped_channel
        op_types: {conv: null, linear: {bits: 3}}
        op_names: {conv_out*: {exact: true}}
        parameters:
          mid_block.*: {bits: 8, granularity: per_tensor}
          conv_in.weight:
"""


@pytest.fixture
def step(tmp_path: Path) -> Palettize:
    path = tmp_path / "x.yaml"
    path.write_text(RECIPE)
    (recipe,) = load_recipe(path).recipes
    options = recipe.compress["unet"][0].palettize
    assert options is not None
    return options


def test_overrides_hold_what_they_say_and_null_is_kept(step: Palettize) -> None:
    assert step.settings() == {
        "bits": 4,
        "granularity": "per_grouped_channel",
        "group_size": 32,
        "exact": False,
        "embeddings": False,
        "min_elements": 2048,
        "op_types": {"conv": None, "linear": {"bits": 3}},
        "op_names": {"conv_out*": {"exact": True}},
        "parameters": {"mid_block.*": {"bits": 8, "granularity": "per_tensor"}, "conv_in.weight": None},
    }


def test_a_size_of_groups_is_no_setting_where_there_are_none() -> None:
    assert Palettize(bits=6).settings() == {
        "bits": 6,
        "granularity": "per_tensor",
        "exact": False,
        "embeddings": False,
        "min_elements": 2048,
    }
    grouped = {"conv": {"granularity": "per_grouped_channel"}}
    assert Palettize.model_validate({"bits": 6, "op_types": grouped}).settings()["group_size"] == 32
    sized = {"bits": 6, "group_size": 8, "op_types": grouped}
    assert Palettize.model_validate(sized).settings()["group_size"] == 8


def test_overrides_ask_for_features_too(step: Palettize) -> None:
    assert list(step.features(Storage(16))) == [
        ("palettes", ()),
        ("grouped_palettes", ("granularity",)),
        ("three_bit_palettes", ("op_types", "linear", "bits")),
    ]


def test_bits_of_all_weights(step: Palettize) -> None:
    assert step.label(16) == "3, 4, 8, 16 (palettes)"
    assert Palettize(bits=6).label(32) == "6 (palettes)"


@pytest.mark.parametrize(
    ("options", "bits"),
    [
        ({}, 16),
        ({"embeddings": True}, 6),
        ({"op_types": {"gather": {"bits": 8}}}, 8),
        ({"op_types": {"gather": {}}}, 6),
        ({"op_types": {"gather": None}, "embeddings": True}, 16),
    ],
)
def test_embeddings_count_in_sizes(options: dict[str, object], bits: int) -> None:
    text = load_family("sd1").components["text_encoder"]
    step = Step(palettize=Palettize.model_validate({"bits": 6, **options}))
    rest = text.parameters - text.embedding_parameters
    assert weight_bytes(text, [step]) == (rest * 6 + text.embedding_parameters * bits) // 8
