"""The committed JSON Schema is current, takes what the loader takes, and helps an editor."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from sdbuild.recipe.files import configs_folder
from sdbuild.recipe.schema import SCHEMA_FILE, recipe_schema, text

HERE = Path(__file__).parent
VALIDATOR = jsonschema.Draft202012Validator(recipe_schema())
GOOD: dict[str, Any] = {
    "name": "x",
    "pipeline": "sd1",
    "model": {"source": "builtin:shapes"},
    "target": {"os": "iOS17"},
}


def test_committed_schema_is_current() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == text(), "run: python -m sdbuild.recipe.schema"


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(recipe_schema())


@pytest.mark.parametrize(
    "path", [*sorted(configs_folder().glob("*.yaml")), *sorted(HERE.glob("warned/*.yaml"))], ids=lambda path: path.stem
)
def test_recipes_that_load_fit_the_schema(path: Path) -> None:
    VALIDATOR.validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "change",
    [
        {"resolution": "512x768"},
        {"resolution": {"width": 512, "height": 768}},
        {"model": {"source": "a/b", "vae": "c/d"}},
        {"model": {"source": "a/b", "vae": {"source": "c/d", "revision": "main"}}},
        {"compress": {"unet": [{"palettize": {"bits": 6}}], "text_encoder": None}},
        {"attention": None},
        {"variants": [{"name": "a", "model": {"revision": "main"}, "resolution": {"width": 64}, "batch": None}]},
        {"variants": [{"name": "a", "compress": {"unet": None}}]},
    ],
)
def test_every_form_fits(change: dict[str, Any]) -> None:
    VALIDATOR.validate(GOOD | change)


@pytest.mark.parametrize(
    "change",
    [
        {"bogus": 1},
        {"name": "A b"},
        {"schema": 2},
        {"pipeline": "sd9"},
        {"resolution": "512"},
        {"resolution": {"width": 512}},
        {"target": {"device": "iphone-99"}},
        {"target": {"os": "iOS26"}},
        {"compress": {"unet": [{"palettize": {"bits": 5}}]}},
        {"compress": {"unet": [{}]}},
        {"compress": {"unet": [{"palettize": None}]}},
        {"compress": {"unet": {"palettize": {"bits": 6}}}},
        {"variants": []},
        {"variants": [{"batch": 1}]},
        {"variants": [{"name": "a", "schema": 1}]},
        {"variants": [{"name": "a", "compress": {"unet": [{"palettize": {}}]}}]},
    ],
)
def test_what_the_loader_refuses_an_editor_marks(change: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(GOOD | change)


def test_every_key_is_described() -> None:
    def undescribed(schema: Any, path: str) -> list[str]:
        if isinstance(schema, list):
            return [found for item in schema for found in undescribed(item, path)]
        if not isinstance(schema, dict):
            return []
        fields = schema.get("properties", {}) | schema.get("$defs", {})
        missing = [f"{path}.{name}" for name, field in fields.items() if not {"description", "$ref"} & field.keys()]
        return missing + [found for key, value in schema.items() for found in undescribed(value, f"{path}.{key}")]

    assert undescribed(recipe_schema(), "") == []
