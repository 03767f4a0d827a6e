"""Words of what sdbuild does not do are answered as such, wherever they are written."""

from pathlib import Path

import pytest

from sdbuild.engine.arguments import parse
from sdbuild.errors import UserError
from sdbuild.recipe import load_recipe
from sdbuild.recipe.problems import RecipeError, suggestion

RECIPE = "name: x\npipeline: sd1\nmodel: {source: org/model}\ntarget: {os: iOS17}\n"
WORDS = {
    "ip-adapter": "no image adapters",
    "t2i_adapter": "no image adapters",
    "control_net": "no ControlNet",
    "controlnet": "no ControlNet",
    "refiner": "no refiner",
    "inpainting": "no inpainting",
    "upscaler": "no upscalers",
    "int8": "palettize with 8 or 4 bits instead",
    "sparsity": "palettize instead",
    "mixed_bits": "does not choose bits",
}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_a_missing_ability(tmp_path: Path, word: str) -> None:
    for line in (f"{word}: x", f"compress: {{unet: [{{{word}: {{bits: 4}}}}]}}", f"components: [{word}]"):
        (tmp_path / "x.yaml").write_text(f"{RECIPE}{line}\n")
        with pytest.raises(RecipeError) as refused:
            load_recipe(tmp_path / "x.yaml")
        told = " ".join(str(refused.value).split())
        assert WORDS[word] in told and "did you mean" not in told
    for line in (word, f"build {word}=x", f"build --{word}"):
        with pytest.raises(UserError) as refused_line:
            parse(line.split())
        assert WORDS[word] in str(refused_line.value) and "did you mean" not in str(refused_line.value)


@pytest.mark.parametrize("pipeline", ["sd3", "SD3.5", "flux", "pixart", "hunyuan"])
def test_a_family_that_is_not_there(tmp_path: Path, pipeline: str) -> None:
    (tmp_path / "x.yaml").write_text(RECIPE.replace("sd1", pipeline))
    with pytest.raises(RecipeError, match="builds Stable Diffusion 1, 2 and XL, no other family"):
        load_recipe(tmp_path / "x.yaml")


@pytest.mark.parametrize("far", ["modes", "quality", "shape", "unit", "pipe_dream", "attend"])
def test_no_suggestion_where_none_is_near(far: str) -> None:
    assert suggestion(far, ["schema", "verify", "bundle", "variants", "compile"]) == ()


def test_what_is_there_is_not_said_to_be_missing() -> None:
    assert suggestion("lora", ["lora-test"]) == ("did you mean 'lora-test'?",)
