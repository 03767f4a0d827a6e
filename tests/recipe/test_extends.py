"""``extends:``: what a recipe takes from another one, and where mistakes in either are reported."""

from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import TypeAdapter

from sdbuild.delivered import ALL
from sdbuild.plan import plan
from sdbuild.recipe import Recipe, RecipeError, load_recipe
from sdbuild.recipe.schema import recipe_schema

BASE = """\
name: base
pipeline: sd1
model: {source: org/model, revision: 0123456789012345678901234567890123456789}
target: {os: macOS14}
resolution: 512x512
compress:
  unet: [{palettize: {bits: 6}}]
  text_encoder: [{palettize: {bits: 8}}]
bundle: {zip: true}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with base.yaml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def load(here: Path, text: str, name: str = "mine.yaml") -> list[dict[str, object]]:
    (here / name).write_text(text)
    plain = TypeAdapter(Recipe)
    loaded = load_recipe(here / name).recipes
    return [plain.dump_python(each, exclude={"path", "name", "family"}) for each in loaded]


def problems(here: Path, text: str) -> list[str]:
    """The lines of the error that name a place, and the last."""
    (here / "mine.yaml").write_text(text)
    with pytest.raises(RecipeError) as error:
        load_recipe(here / "mine.yaml")
    return [line for line in str(error.value).splitlines() if line.startswith(("mine", "base", "third"))]


def test_it_is_as_if_all_were_in_one_file(here: Path) -> None:
    child = "extends: base.yaml\nname: mine\nresolution: 768x512\n"
    child += "compress: {text_encoder: null, unet: [{palettize: {bits: 4}}]}\n"
    whole = BASE.replace("512x512", "768x512").replace("bits: 6", "bits: 4")
    whole = whole.replace("  text_encoder: [{palettize: {bits: 8}}]\n", "")
    assert load(here, child) == load(here, whole, "whole.yaml")
    loaded = load_recipe(here / "mine.yaml")
    assert [recipe.name for recipe in loaded.recipes] == ["mine"] and loaded.bases == (here / "base.yaml",)
    assert loaded.recipes[0].path == here / "mine.yaml"


@pytest.mark.parametrize("text", ["base.yaml", "base", "./base.yaml", "../{}/base.yaml"])
def test_ways_to_name_it(here: Path, text: str) -> None:
    assert load(here, f"name: mine\nextends: {text.format(here.name)}\n") == load(here, BASE, "other.yaml")


def test_null_removes_and_lists_are_replaced(here: Path) -> None:
    (found,) = load(here, "extends: base\nname: mine\ncompress: null\nbundle: {zip: null}\n")
    assert found["compress"] == {} and found["bundle"] == {"zip": False}
    listed = "variants: [{name: a, resolution: 64x64}, {name: b, batch: 1}]\n"
    (here / "base.yaml").write_text(BASE + listed)
    assert [each["variant"] for each in load(here, "extends: base\nname: mine\n")] == ["a", "b"]
    assert [each["variant"] for each in load(here, "extends: base\nname: mine\nvariants: [{name: c}]\n")] == ["c"]
    assert [each["variant"] for each in load(here, "extends: base\nname: mine\nvariants: null\n")] == [None]
    assert load(here, "extends: null\n" + BASE) == load(here, BASE, "other.yaml")


def test_three_files_and_the_order_of_what_wins(here: Path) -> None:
    (here / "third.yaml").write_text("extends: base\nattention: original\nresolution: 256x256\n")
    (found,) = load(here, "extends: third\nname: mine\nresolution: 64x64\n")
    assert found["attention"] == "original" and found["resolution"] == {"width": 64, "height": 64}
    assert load_recipe(here / "mine.yaml").bases == (here / "third.yaml", here / "base.yaml")


def test_paths_start_at_the_file_that_they_are_written_in(here: Path) -> None:
    for folder in ("models", "own"):
        place = here / f"shared/{folder}" if folder == "models" else here / folder
        place.mkdir(parents=True)
        (place / "model_index.json").write_text("{}")
        (place / "config.json").write_text("{}")
    base = BASE.replace("{source: org/model, revision: 0123456789012345678901234567890123456789}", "{source: models}")
    (here / "shared/base.yaml").write_text(base)
    loaded = load_recipe_text(here, "extends: shared/base\nname: mine\nmodel: {vae: ./own}\n")
    assert loaded.model.source.path == here / "shared/models" and loaded.model.vae.path == here / "own"
    loaded = load_recipe_text(here, "extends: shared/base\nname: mine\nvariants: [{name: a, model: {source: ./own}}]\n")
    assert loaded.model.source.path == here / "own"


def load_recipe_text(here: Path, text: str):  # type: ignore[no-untyped-def]
    (here / "mine.yaml").write_text(text)
    return load_recipe(here / "mine.yaml").recipes[0]


def test_a_recipe_that_comes_with_sdbuild(here: Path) -> None:
    (found,) = load(here, "extends: shapes\nname: mine\nverify: null\n")
    assert found["model"]["source"]["id"] == "shapes"  # type: ignore[index]
    assert load(here, "extends: shapes\nname: mine\n", "shapes.yaml")[0]["model"] == found["model"]


def test_mistakes_are_reported_in_the_file_that_has_them(here: Path) -> None:
    (here / "base.yaml").write_text(BASE.replace("512x512", "513x513").replace("bits: 8", "bits: 5"))
    found = problems(here, "extends: base\nname: mine\nattention: fast\n")
    assert [line.split(" ")[0] for line in found[:3]] == ["mine.yaml:3:12:", "base.yaml:5:13:", "base.yaml:8:37:"]
    with pytest.raises(RecipeError, match=r"3 problems in mine.yaml and base.yaml") as error:
        load_recipe(here / "mine.yaml")
    assert "  8 |   text_encoder: [{palettize: {bits: 5}}]\n" in str(error.value)
    assert [each.span.file for each in error.value.problems] == ["", "base.yaml", "base.yaml"]
    assert load(here, "extends: base\nname: mine\nresolution: 64x64\ncompress: {text_encoder: null}\n")


def test_a_base_that_is_no_yaml(here: Path) -> None:
    (here / "base.yaml").write_text("model: [\n")
    assert problems(here, "extends: base\nname: mine\n")[0].startswith("base.yaml:2:1: not YAML")
    (here / "base.yaml").write_text("")
    assert problems(here, "extends: base\nname: mine\n") == ["base.yaml:1:1: the file is empty"]
    (here / "base.yaml").write_text(BASE + "bundle: {}\n")
    assert problems(here, "extends: base\nname: mine\n") == [
        "base.yaml:10:1: the key 'bundle' is here a second time; it is also on line 9"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("extends: bsae\nname: mine\n", "mine.yaml:1:10: there is no recipe 'bsae' to extend"),
        ("extends: [base]\nname: mine\n", "mine.yaml:1:10: expected the path or the name of a recipe, found a list"),
        ("extends:\nname: mine\n", "mine.yaml:1:1: 'extends' has no value"),
        ("extends: mine\nname: mine\n", "mine.yaml:1:10: a recipe can't extend itself"),
        ("extends: base\n", "mine.yaml:1:1: 'name' is missing"),
        ("extends: base\nname: mine\nvariants: [{name: a, extends: base}]\n", "mine.yaml:3:22: 'extends' can't differ"),
        ("extends: base\nname: mine\nverifi: {}\n", "mine.yaml:3:1: unknown key 'verifi'"),
    ],
)
def test_what_cannot_be_extended(here: Path, text: str, expected: str) -> None:
    assert problems(here, text)[0].startswith(expected)


def test_a_circle_and_a_long_chain(here: Path) -> None:
    (here / "third.yaml").write_text("extends: mine.yaml\n")
    assert problems(here, "extends: third.yaml\nname: mine\n") == ["third.yaml:1:10: a recipe can't extend itself"]
    with pytest.raises(RecipeError, match=r"= mine\.yaml → third\.yaml → mine\.yaml"):
        load_recipe(here / "mine.yaml")
    for number in range(20):
        (here / f"b{number}.yaml").write_text(f"extends: b{number + 1}\n")
    with pytest.raises(RecipeError, match="more than 8 recipes extend each other"):
        load_recipe_text(here, "extends: b0\nname: mine\n")


def test_a_base_that_changes_changes_the_build(here: Path) -> None:
    (here / "mine.yaml").write_text("extends: base\nname: mine\n")
    before = plan(load_recipe(here / "mine.yaml").recipes).tasks
    (here / "base.yaml").write_text(BASE.replace("bits: 6", "bits: 4"))
    after = plan(load_recipe(here / "mine.yaml").recipes).tasks
    changed = {name for name in before if before[name].settings != after[name].settings}
    assert changed == {"compress:unet", "bundle"}  # whose manifest says so


def test_warnings_name_the_file(here: Path) -> None:
    (here / "base.yaml").write_text(BASE.replace(", revision: 0123456789012345678901234567890123456789", ""))
    (here / "mine.yaml").write_text("extends: base\nname: mine\n")
    assert load_recipe(here / "mine.yaml").warnings[0].startswith("base.yaml:3:")


def test_the_schema_lets_a_recipe_that_extends_leave_out_the_rest() -> None:
    validator = jsonschema.Draft202012Validator(recipe_schema())
    for text in ("extends: x\nname: a\n", "extends: x\nname: a\nmodel: {revision: main}\nchunk: null\n"):
        validator.validate(yaml.safe_load(text))
    both = "extends: x\nname: a\n"
    for text in ("extends: x\n", "name: a\n", f"{both}bogus: 1\n", f"{both}variants: [{{name: {ALL}}}]"):
        assert not validator.is_valid(yaml.safe_load(text))
    assert not validator.is_valid(yaml.safe_load(BASE) | {"model": {"revision": "main"}})


def test_null_under_a_misspelt_key_is_reported_in_the_file_it_is_in(here: Path) -> None:
    """A null that removes nothing leaves no trace in what the files come to."""
    (here / "base.yaml").write_text(BASE + "batsh: null\n")
    child = "extends: base\nname: mine\ncompress: {vae_decodr: null, text_encoder: null}\nmodel: {varient: ~}\n"
    assert problems(here, child) == [
        "mine.yaml:3:12: no pipeline has a component 'vae_decodr'",
        "mine.yaml:4:9: unknown key 'varient'",
        "base.yaml:10:1: unknown key 'batsh'",
    ]


@pytest.mark.parametrize(
    "name", ["packages", "resources", "manifest.json", "verify.json", "verify.txt", "a_compiled.zip"]
)
def test_variants_leave_the_names_of_what_a_build_writes(here: Path, name: str) -> None:
    """Else its folder would be that of a recipe without variants, whose results are replaced and removed whole."""
    text = f"{BASE}variants: [{{name: {name}}}]\n"
    assert problems(here, text) == [
        f"mine.yaml:10:19: no variant can be called '{name}': a build writes something of that name beside variants' folders"
    ]
    assert not jsonschema.Draft202012Validator(recipe_schema()).is_valid(yaml.safe_load(text))
    assert [each["variant"] for each in load(here, text.replace(f"name: {name}", f"name: my-{name}x"))] == [
        f"my-{name}x"
    ]
