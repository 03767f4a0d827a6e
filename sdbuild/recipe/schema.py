"""The JSON Schema of recipes, for editors: `python -m sdbuild.recipe.schema` writes schema.json, `--check` checks it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from sdbuild.delivered import ALL, ENTRIES, ZIP_END
from sdbuild.program import run_program
from sdbuild.recipe.written import WrittenRecipe

SCHEMA_FILE = Path(__file__).with_name("schema.json")
_NULL = {"type": "null"}


def recipe_schema() -> dict[str, Any]:
    """The schema of a recipe as it is written: short forms, partial variants, null for "as if it weren't there"."""
    schema = _tidy(WrittenRecipe.model_json_schema())
    properties: dict[str, Any] = schema["properties"]
    definitions: dict[str, Any] = schema["$defs"]
    same = {"schema", "variants", "name", "extends"}
    variant = {
        "type": "object",
        "description": "A build of its own: a name, and what differs from the recipe around it.",
        "additionalProperties": False,
        "required": ["name"],
        "properties": {
            "name": {
                **properties["name"],
                "not": {"anyOf": [{"enum": [ALL, *map(str.lower, ENTRIES)]}, {"pattern": f"{re.escape(ZIP_END)}$"}]},
                "description": "Names the folder of this build: build/<recipe>/<name>/.",
            },
            **{key: _partial(value, definitions) for key, value in properties.items() if key not in same},
        },
    }
    definitions["Variant"] = variant
    properties["variants"] |= {"items": {"$ref": "#/$defs/Variant"}, "minItems": 1}
    whole = {key: value for key, value in properties.items() if key not in same}
    schema["properties"] = properties | {key: _partial(value, definitions) for key, value in whole.items()}
    rule = {  # what a recipe that extends nothing has to say itself
        "if": {"not": {"required": ["extends"]}},
        "then": {"required": schema.pop("required"), "properties": whole},
    }
    schema |= {"required": ["name"], **rule}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "sdbuild recipe", **schema}


def text() -> str:
    """The schema as the bytes of schema.json."""
    return json.dumps(recipe_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _tidy(schema: Any) -> Any:
    """Without the titles that pydantic makes of key names, and without defaults of null."""
    if isinstance(schema, dict):
        noise = {key for key in ("title", "default") if key in schema and (key == "title" or schema[key] is None)}
        return {key: _tidy(value) for key, value in schema.items() if key not in noise}
    return [_tidy(item) for item in schema] if isinstance(schema, list) else schema


def _partial(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a value that is laid over another: no key of a mapping is required, and null takes one away."""
    partial = _loose(schema, definitions)
    branches = partial.get("anyOf", [])
    if _NULL in branches:
        return partial
    about: dict[str, Any] = {key: partial.pop(key) for key in ("description", "examples", "default") if key in partial}
    about.pop("default", None)  # a variant's default is what the recipe around it says
    if "$ref" in schema:
        about.setdefault("description", definitions[_name(schema)]["description"])
    return {**about, "anyOf": [*branches, _NULL] if branches else [partial, _NULL]}


def _loose(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    loose = dict(schema)
    for key in ("anyOf", "oneOf"):
        if key in loose:
            loose[key] = [_loose(branch, definitions) for branch in loose[key]]
    if "$ref" in loose:
        name = _name(loose)
        whole = definitions[name]
        if "required" in whole:
            part = {key: value for key, value in whole.items() if key != "required"}
            part["properties"] = {key: _partial(value, definitions) for key, value in whole["properties"].items()}
            definitions[f"Partial{name}"] = part
            loose["$ref"] = f"#/$defs/Partial{name}"
    return loose


def _name(reference: dict[str, str]) -> str:
    return reference["$ref"].rpartition("/")[2]


def main(arguments: list[str]) -> int:
    """Write the file; with ``--check`` only tell whether it is up to date."""
    if "--check" not in arguments:
        SCHEMA_FILE.write_text(text(), encoding="utf-8")
    elif SCHEMA_FILE.read_text(encoding="utf-8") != text():
        print(f"{SCHEMA_FILE}: out of date; run python -m sdbuild.recipe.schema", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
