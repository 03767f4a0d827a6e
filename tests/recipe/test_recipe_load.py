"""What a good recipe becomes: defaults, variants, sources, what each component is built as."""

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from sdbuild.opset import Opset
from sdbuild.recipe import Loaded, Recipe, RecipeError, load_family, load_recipe
from sdbuild.recipe.files import configs_folder

BASE = "name: x\npipeline: sd1\nmodel: {source: builtin:shapes}\n"
XL = """
name: x
pipeline: sdxl
model:
  source: stabilityai/stable-diffusion-xl-base-1.0
  revision: 462165984030d82259a11f4367a4eed129e94a7b
"""


def load(folder: Path, text: str) -> Loaded:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path)


def one(folder: Path, text: str) -> Recipe:
    (recipe,) = load(folder, text).recipes
    return recipe


@pytest.mark.parametrize("path", sorted(configs_folder().glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_load_without_a_word(path: Path) -> None:
    loaded = load_recipe(path)
    assert loaded.warnings == ()
    assert {recipe.name for recipe in loaded.recipes} == {path.stem}
    assert all(recipe.model.source.pinned for recipe in loaded.recipes)


@pytest.mark.parametrize("path", sorted(configs_folder().glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_open_with_schema_purpose_and_commands(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# yaml-language-server: $schema=../sdbuild/recipe/schema.json"
    assert lines[1].startswith("# ")
    assert lines[2].startswith(f"#   doit plan  config={path.stem} ")
    assert lines[3].startswith(f"#   doit build config={path.stem} ")


def test_defaults(tmp_path: Path) -> None:
    recipe = one(tmp_path, BASE + "target: {os: macOS14}\n")
    assert recipe.components == ("text_encoder", "unet", "vae_decoder")
    assert (recipe.compute_units, recipe.attention) == ("cpuAndGPU", "original")
    assert str(recipe.resolution) == "512x512"
    assert (recipe.batch, recipe.chunk, recipe.compile, recipe.bundle.zip) == (2, False, "portable", False)
    assert (recipe.variant, recipe.device, recipe.compress) == (None, None, {})
    assert recipe.opset is Opset.IOS17


@pytest.mark.parametrize(
    ("target", "os", "units", "attention"),
    [
        ("os: iOS16", "iOS16", "cpuAndNeuralEngine", "split_einsum_v2"),
        ("device: iphone-12-mini", "iOS17", "cpuAndNeuralEngine", "split_einsum_v2"),
        ("device: iphone-16", "iOS18", "cpuAndNeuralEngine", "split_einsum_v2"),
        ("device: iphone-17-pro", "iOS18", "cpuAndNeuralEngine", "split_einsum_v2"),
        ("device: iphone-x", "iOS16", "cpuAndGPU", "original"),
        ("device: mac-m1-max", "macOS14", "cpuAndGPU", "original"),
        ("device: mac-m1-pro", "macOS14", "all", "split_einsum_v2"),
        ("device: mac-m4", "macOS15", "cpuAndNeuralEngine", "split_einsum_v2"),
        ("device: mac-m4, compute_units: cpuAndGPU", "macOS15", "cpuAndGPU", "original"),
    ],
)
def test_device_gives_system_units_and_attention(
    tmp_path: Path, target: str, os: str, units: str, attention: str
) -> None:
    recipe = one(tmp_path, BASE + f"target: {{{target}}}\n")
    assert (recipe.os, recipe.compute_units, recipe.attention) == (os, units, attention)


def test_family_chooses_the_attention_of_the_neural_engine(tmp_path: Path) -> None:
    recipe = one(tmp_path, XL + "target: {device: iphone-15-pro}\ncompress: {unet: [{palettize: {bits: 6}}]}\n")
    assert recipe.attention == "split_einsum"


@pytest.mark.parametrize("written", ["512x768", "{width: 512, height: 768}"])
def test_both_forms_of_resolution(tmp_path: Path, written: str) -> None:
    recipe = one(tmp_path, BASE + f"target: {{os: macOS14}}\nresolution: {written}\n")
    assert (recipe.resolution.width, recipe.resolution.height) == (512, 768)
    assert tuple(recipe.dimensions("unet")[side] for side in ("latent_width", "latent_height")) == (64, 96)


def test_small_built_in_model_may_have_fewer_levels(tmp_path: Path) -> None:
    """96 pixels are 12 latent ones: too odd for the usual UNet, right for one with two levels."""
    assert str(one(tmp_path, BASE + "target: {os: macOS14}\nresolution: 96x96\n").resolution) == "96x96"


def test_components_come_in_the_order_of_the_family(tmp_path: Path) -> None:
    listed = "components: [safety_checker, vae_encoder, vae_decoder, unet, text_encoder]"
    recipe = one(tmp_path, BASE + "target: {os: macOS14}\n" + listed)
    assert recipe.components == tuple(load_family("sd1").components)


def test_vae_of_sdxl_is_float32_unless_it_is_known_to_bear_float16(tmp_path: Path) -> None:
    plain = one(tmp_path, XL + "target: {os: macOS14}\n")
    fixed = one(
        tmp_path,
        XL + "  vae: {source: madebyollin/sdxl-vae-fp16-fix, revision: 207b116dae70ace3637169f1ddd2434b91b3a8cd}\n"
        "target: {os: macOS14}\n",
    )
    for recipe, precision in ((plain, "float32"), (fixed, "float16")):
        decoder = recipe.component("vae_decoder")
        assert decoder.precision == precision
        assert [port.dtype for port in decoder.inputs] == [precision]
        assert [port.dtype for port in decoder.outputs] == ["float32"]
        assert recipe.precision("unet") == "float16"
    assert fixed.source_of("vae_decoder").id == "madebyollin/sdxl-vae-fp16-fix"
    assert fixed.source_of("unet").id == plain.source_of("vae_decoder").id


@pytest.mark.parametrize(
    ("config", "said", "precision", "warned"),
    [
        ({"force_upcast": True}, "", "float32", False),
        ({"force_upcast": False}, "", "float16", False),
        ({"force_upcast": False}, "precision: {vae_decoder: float32}", "float32", False),
        ({"force_upcast": True}, "precision: {vae_decoder: float16}", "float16", True),
        ({}, "precision: {vae_decoder: float16}", "float16", True),
        ({"force_upcast": 0}, "", "float32", False),
        (None, "", "float32", False),
    ],
)
@pytest.mark.parametrize("other_vae", [False, True], ids=["inside", "another"])
def test_a_local_vae_says_itself_whether_it_bears_float16(
    config: dict[str, object] | None, said: str, precision: str, warned: bool, other_vae: bool, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text("{}")
    place = tmp_path / ("other" if other_vae else "model/vae")
    place.mkdir()
    (place / "config.json").write_text("[1" if config is None else json.dumps(config))
    text = "name: x\npipeline: sdxl\nmodel: {source: ./model" + (", vae: ./other}" if other_vae else "}")
    loaded = load(tmp_path, f"{text}\ntarget: {{os: macOS14}}\n{said}\n")
    (recipe,) = loaded.recipes
    decoder = recipe.component("vae_decoder")
    assert (decoder.precision, decoder.inputs[0].dtype, recipe.precision("vae_encoder")) == (
        precision,
        precision,
        "float16" if (config or {}).get("force_upcast") is False else "float32",
    )
    assert any("images may come out black" in warning for warning in loaded.warnings) == warned


def test_precision_of_any_component_and_of_one_variant(tmp_path: Path) -> None:
    text = (
        BASE + "target: {os: macOS14}\nprecision: {unet: float32}\nvariants: [{name: a}, {name: b, precision: null}]\n"
    )
    a, b = load(tmp_path, text).recipes
    assert [(r.precision("unet"), r.precision("vae_decoder")) for r in (a, b)] == [
        ("float32", "float16"),
        ("float16",) * 2,
    ]


def test_author_license_and_version_of_the_recipe(tmp_path: Path) -> None:
    text = BASE.replace("builtin:shapes", "builtin:shapes, author: Jo, license: MIT") + "target: {os: macOS14}\n"
    assert one(tmp_path, text).model.about == {"author": "Jo", "license": "MIT"}


def test_local_source_is_found_from_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "models" / "mine"
    model.mkdir(parents=True)
    (model / "model_index.json").write_text("{}")
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    monkeypatch.chdir("/")
    for source in ("../models/mine", str(model)):
        text = f"name: x\npipeline: sd1\nmodel: {{source: {source}}}\ntarget: {{os: iOS17}}\n"
        found = one(recipes, text).model.source
        assert (found.kind, found.path, found.pinned) == ("local", model, True)
    beside = one(tmp_path, "name: x\npipeline: sd1\nmodel: {source: models/mine}\ntarget: {os: iOS17}\n")
    assert beside.model.source.kind == "local"  # looks like a hub id, but is there


def test_home_is_a_local_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model_index.json").write_text("{}")
    recipe = one(tmp_path, "name: x\npipeline: sd1\nmodel: {source: '~'}\ntarget: {os: iOS17}\n")
    assert recipe.model.source.path == tmp_path


VARIANTS = """
target: {os: iOS17, compute_units: cpuAndGPU}
attention: original
compress:
  unet: [{palettize: {bits: 6}}]
  text_encoder: [{palettize: {bits: 8}}]
variants:
  - name: as-is
  - name: four
    compress: {unet: [{palettize: {bits: 4}}]}
  - name: bare
    compress: {unet: null}
    attention: ~
  - name: mac
    target: {os: macOS14}
    compress: null
"""


def test_variants_lay_their_keys_over_the_recipe(tmp_path: Path) -> None:
    recipes = {recipe.variant: recipe for recipe in load(tmp_path, BASE + VARIANTS).recipes}
    bits = {
        variant: {name: step.palettize.bits for name, (step,) in recipe.compress.items() if step.palettize}
        for variant, recipe in recipes.items()
    }
    assert bits == {
        "as-is": {"text_encoder": 8, "unet": 6},
        "four": {"text_encoder": 8, "unet": 4},
        "bare": {"text_encoder": 8},
        "mac": {},
    }
    assert (recipes["mac"].os, recipes["mac"].compute_units) == ("macOS14", "cpuAndGPU")
    assert {recipe.name for recipe in recipes.values()} == {"x"}


def test_base_of_variants_may_be_incomplete(tmp_path: Path) -> None:
    text = BASE + "variants: [{name: a, target: {os: iOS17}}, {name: b, target: {os: macOS14}}]\n"
    assert [recipe.os for recipe in load(tmp_path, text).recipes] == ["iOS17", "macOS14"]


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    text = """
target: &base {os: macOS14, compute_units: cpuAndGPU}
compress:
  unet: &six [{palettize: &palette {bits: 6, min_elements: 10}}]
  text_encoder: *six
  vae_decoder: [{palettize: {<<: *palette, bits: 8}}]
variants:
  - {name: a, target: {<<: [*base, {os: iOS17}]}}
"""
    recipe = one(tmp_path, BASE + text)
    assert (recipe.os, recipe.compress["text_encoder"]) == ("macOS14", recipe.compress["unet"])
    (step,) = recipe.compress["vae_decoder"]
    assert step.palettize is not None
    assert (step.kind, step.palettize.bits, step.palettize.min_elements) == ("palettize", 8, 10)


def test_yaml_one_point_one_words_are_taken_where_they_fit(tmp_path: Path) -> None:
    text = BASE + "target: {os: iOS17}\nbundle: {zip: yes}\nchunk: off\n"
    recipe = one(tmp_path, text)
    assert (recipe.bundle.zip, recipe.chunk) == (True, False)


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + (BASE + "target: {os: iOS17}\n").replace("\n", "\r\n").encode())
    assert load_recipe(path).recipes[0].name == "x"


def test_recipe_is_immutable(tmp_path: Path) -> None:
    recipe = one(tmp_path, BASE + "target: {os: iOS17}\n")
    with pytest.raises(FrozenInstanceError):
        recipe.batch = 1  # type: ignore[misc]


def test_all_errors_of_a_file_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, "name: 1\npipeline: nope\nmodel: {}\ntarget: {os: iOS99}\nresolution: 7x7\nbogus: 1\n")
    lines = [problem.span.line for problem in caught.value.problems]
    assert lines == [0, 1, 2, 3, 4, 4, 5]  # both sides of the resolution are below the least


def test_rules_run_beside_errors_of_form(tmp_path: Path) -> None:
    """A misspelt key elsewhere doesn't hide that the sizes don't fit."""
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, BASE + "target: {os: iOS17}\nresolution: 100x100\nbogus: 1\n")
    assert [problem.message.split(":")[0] for problem in caught.value.problems] == [
        "both sides of 100x100 must be multiples of 8",
        "unknown key 'bogus'",
    ]


def test_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pathlib import Path; from sdbuild.recipe import find_recipe, load_recipe;"
        "load_recipe(find_recipe('sdxl-ios', Path.cwd()));"
        "print([m for m in ('torch', 'numpy', 'coremltools', 'diffusers', 'transformers', 'huggingface_hub', 'rich')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
