"""Learned embeddings in the forms that they are shared in: the vectors are those that diffusers finds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

from sdbuild.errors import SourceError
from sdbuild.modeling.embeddings import read_embedding, read_rows, write_rows
from tests.matrix.models import SHAPES

WIDTH = 128  # of shapes
VECTORS = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(4))


def pickled(content: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        torch.save(content, folder / "style.pt")
        return folder / "style.pt"

    return write


def saved(content: dict[str, torch.Tensor]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        save_file({name: tensor.clone() for name, tensor in content.items()}, str(folder / "style.safetensors"))
        return folder / "style.safetensors"

    return write


def of_webui(params: Any) -> dict[str, Any]:
    return {
        "string_to_token": {"*": torch.tensor(265)},
        "string_to_param": params,
        "name": "style-x",
        "step": 4999,
        "sd_checkpoint": None,
        "sd_checkpoint_name": None,
    }


FORMS = {
    "A1111's pickle": pickled(of_webui({"*": VECTORS})),
    "the same with gradients": pickled(of_webui({"*": VECTORS.clone().requires_grad_(True)})),
    "the same in float16": pickled(of_webui({"*": VECTORS.half()})),
    "A1111's safetensors": saved({"emb_params": VECTORS}),
    "the same in bfloat16": saved({"emb_params": VECTORS.bfloat16()}),
    "diffusers' pickle": pickled({"<style-x>": VECTORS}),
    "diffusers' safetensors": saved({"<style-x>": VECTORS}),
    "one vector": saved({"<style-x>": VECTORS[0]}),
}


@pytest.fixture(scope="module")
def pipeline() -> StableDiffusionPipeline:
    return StableDiffusionPipeline.from_pretrained(str(SHAPES), local_files_only=True).to(torch.float32)


@pytest.mark.parametrize("form", list(FORMS))
def test_the_vectors_are_those_that_diffusers_finds(
    form: str, tmp_path: Path, pipeline: StableDiffusionPipeline
) -> None:
    (found,) = read_embedding(FORMS[form](tmp_path), allow_pickle=True)
    pipeline.load_textual_inversion(str(tmp_path), weight_name=next(tmp_path.iterdir()).name, token="<x>")
    table = pipeline.text_encoder.get_input_embeddings().weight.detach().numpy()
    ids = pipeline.tokenizer(pipeline.maybe_convert_prompt("<x>", pipeline.tokenizer)).input_ids[1:-1]
    np.testing.assert_array_equal(found, table[ids])
    pipeline.unload_textual_inversion()
    assert len(found) == (1 if form == "one vector" else 3)
    assert found.dtype == np.float32


def test_what_torch_had_for_named_parameters_before_1_12(tmp_path: Path) -> None:
    """Such files have a module in their pickle, with nothing but the parameters in it."""
    (found,) = read_embedding(pickled(of_webui(_old_dict({"*": VECTORS})))(tmp_path), allow_pickle=True)
    np.testing.assert_array_equal(found, VECTORS.numpy())


def _old_dict(parameters: dict[str, torch.Tensor]) -> torch.nn.ParameterDict:
    made = torch.nn.ParameterDict({name: torch.nn.Parameter(tensor) for name, tensor in parameters.items()})
    del made.__dict__["_keys"]
    return made


@pytest.mark.parametrize("names", [("clip_l", "clip_g"), ("text_encoders_0", "text_encoders_1")])
def test_vectors_for_each_of_two_text_encoders(names: tuple[str, str], tmp_path: Path) -> None:
    """diffusers refuses them."""
    other = torch.randn(3, 2 * WIDTH)
    first, second = read_embedding(saved({names[1]: other, names[0]: VECTORS})(tmp_path), allow_pickle=False)
    np.testing.assert_array_equal(first, VECTORS.numpy())
    np.testing.assert_array_equal(second, other.numpy())


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_rows(VECTORS.numpy(), tmp_path / "rows.safetensors")
    np.testing.assert_array_equal(read_rows(tmp_path / "rows.safetensors"), VECTORS.numpy())


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("run",)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            saved({"a": VECTORS, "b": VECTORS}),
            "holds a, b; an embedding is one tensor, or clip_l and clip_g for SDXL's two",
        ),
        (saved({"clip_g": VECTORS}), "holds clip_g; an embedding is one tensor, or clip_l and clip_g"),
        (saved({"clip_l": VECTORS, "clip_g": VECTORS, "c": VECTORS}), "holds c, clip_g, clip_l; an embedding is"),
        (saved({"clip_l": VECTORS, "clip_g": VECTORS[:2]}), "clip_l and clip_g have 3 and 2 vectors, and a token"),
        (saved({}), "holds no tensors; an embedding is one tensor"),
        (saved({"emb_params": torch.zeros(1, 3, WIDTH)}), r"emb_params has shape \[1, 3, 128\]; the vectors of an"),
        (saved({"emb_params": torch.zeros(0, WIDTH)}), r"emb_params has shape \[0, 128\]; the vectors of an"),
        (saved({"emb_params": VECTORS / 0}), r"emb_params has numbers that are none \(NaN or infinity\); get the"),
        (saved({"emb_params": torch.zeros(3, WIDTH, dtype=torch.int8)}), "emb_params is of type I8; weights are of"),
        (
            saved({"proj.weight": VECTORS}),
            r"one tensor, proj.weight \[3, 128\], which is called as a network's are; that",
        ),
        (saved({"positional_embedding": VECTORS}), r"positional_embedding \[3, 128\], which is called as a network's"),
        (saved({"emb_params": VECTORS * 0}), "all its numbers are 0, which mean nothing to a text encoder; get the"),
        (saved({"clip_l": VECTORS * 0, "clip_g": VECTORS * 0}), "all its numbers are 0"),
        (pickled(of_webui({"*": VECTORS, "+": VECTORS})), r"holds \*, \+; an embedding is one tensor"),
        (pickled(of_webui({"*": _Evil()})), "cannot be loaded as plain weights: it needs print, and to load"),
        (pickled([VECTORS]), "holds no tensors; an embedding is one tensor"),
        (pickled({"<x>": VECTORS.to_sparse()}), "holds no tensors; an embedding is one tensor"),
        (pickled({"state_dict": {"unet": VECTORS}}), "holds no tensors; an embedding is one tensor"),
    ],
)
def test_what_is_no_embedding(write: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=message):
        read_embedding(write(tmp_path), allow_pickle=True)


def test_pickles_are_loaded_on_request_alone(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match="a pickle, and loading a pickle can run code that its author hid in it; get the"
    ):
        read_embedding(FORMS["A1111's pickle"](tmp_path), allow_pickle=False)
