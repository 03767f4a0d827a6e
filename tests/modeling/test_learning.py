"""Embeddings put into a model, its tokenizer, configurations and tables alike; compared with diffusers, which loads its own."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from diffusers import StableDiffusionPipeline
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from sdbuild.coreml.runtime import load
from sdbuild.errors import SourceError
from sdbuild.generate.tokenizer import Tokenizer
from sdbuild.job import Found
from sdbuild.jobs.config import Embedding, SourceFacts
from sdbuild.modeling.embeddings import write_rows
from sdbuild.modeling.learning import Given, learn
from sdbuild.overlay import Layer
from sdbuild.plan import Graph, plan
from sdbuild.recipe import load_recipe
from sdbuild.verify.reference import Reference
from tests.architectures import TEXT_XL
from tests.execute import execute, run, with_paths
from tests.matrix.models import SHAPES

EMBEDDING = SHAPES / "embeddings" / "grezquz.safetensors"
PROMPTS = (
    "a grezquz on an orange background",
    "grezquz, grezquz. GREZQUZ!",
    "a large red circle",
    "a " * 73 + "grezquz",
)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    recipe = {
        "name": "mine",
        "pipeline": "sd1",
        "model": {"source": "builtin:shapes"},
        "components": ["text_encoder"],
        "target": {"os": "macOS14"},
        "resolution": "64x64",
    }
    path = tmp_path_factory.mktemp("recipe") / "mine.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return plan(load_recipe(path).recipes)


def embedding(file: Path, token: str = "grezquz") -> Embedding:
    facts = SourceFacts(kind="local", id=f"./{file.name}", path=str(file.parent), files={file.name: "1:1"})
    return Embedding(token=token, source=facts, file=file.name)


@pytest.fixture(scope="module")
def config(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stage makes of the embedding that comes with sdbuild."""
    job: Any = replace(graph.tasks["config"].job, embeddings=(embedding(EMBEDDING),))
    return run(job, tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="module")
def diffusers() -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(str(SHAPES), local_files_only=True).to(torch.float32)
    pipeline.load_textual_inversion(str(EMBEDDING.parent), weight_name=EMBEDDING.name, token="grezquz")
    return pipeline


def theirs(pipeline: StableDiffusionPipeline, prompt: str) -> np.ndarray[Any, Any]:
    """The embedding that diffusers' pipeline gives its UNet, [1, 77, width]."""
    hidden, _ = pipeline.encode_prompt(prompt.lower(), "cpu", 1, False)
    return hidden.detach().numpy()


def test_what_the_stage_writes(config: Path) -> None:
    assert json.loads((config / "embeddings.json").read_text()) == [
        {"token": "grezquz", "ids": [653, 654], "source": {"local": _sha256(EMBEDDING)}}
    ]
    text_encoder = json.loads((config / "components" / "text_encoder" / "config.json").read_text())
    assert (text_encoder["vocab_size"], text_encoder["eos_token_id"]) == (655, 652)
    tokens = Tokenizer.read(config / "tokenizer")("a grezquz, b", 77)
    assert tokens.ids[:7] == (651, *Tokenizer.read(SHAPES / "tokenizer")("a", 3).ids[1:2], 653, 654, *tokens.ids[4:7])


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_original_gives_what_diffusers_does(config: Path, diffusers: StableDiffusionPipeline) -> None:
    laid = {"embeddings": {"learned": Layer(files=Found(config / "components" / "text_encoder" / "rows.safetensors"))}}
    original = Reference("clip_text", config / "components/text_encoder/config.json", SHAPES / "text_encoder", {}, laid)
    tokenizer = Tokenizer.read(config / "tokenizer")
    for prompt in PROMPTS[
        :-1
    ]:  # diffusers' tokenizer keeps the end mark of a prompt that is too long, the app's does not
        ids = np.array([tokenizer(prompt, 77).ids], np.float32)
        np.testing.assert_allclose(original([ids])[0], theirs(diffusers, prompt), atol=2e-5)


def test_the_program_gives_what_diffusers_does(
    graph: Graph, config: Path, diffusers: StableDiffusionPipeline, tmp_path: Path
) -> None:
    """Traced with the grown table, and converted with the rows behind those of the weights."""
    part = config / "components" / "text_encoder"
    made = execute(graph, tmp_path / "plain", graph.tasks["download:text_encoder"])
    trace: Any = replace(with_paths(graph.tasks["trace:text_encoder"], made), config=Found(part / "config.json"))
    made[graph.tasks["trace:text_encoder"]] = run(trace, tmp_path / "trace")
    convert: Any = replace(
        with_paths(graph.tasks["convert:text_encoder"], made),
        precision="float32",
        overlays={"embeddings": {"learned": Layer(files=Found(part / "rows.safetensors"))}},
    )
    program = load(run(convert, tmp_path / "convert") / "TextEncoder.mlpackage")
    tokenizer = Tokenizer.read(config / "tokenizer")
    for prompt in PROMPTS[:-1]:
        ids = np.array([tokenizer(prompt, 77).ids], np.float32)
        np.testing.assert_allclose(
            program.predict({"input_ids": ids})["last_hidden_state"], theirs(diffusers, prompt), atol=2e-5
        )


@pytest.mark.parametrize("known", [2, 652])
def test_a_grown_text_encoder_gives_what_transformers_gives_of_a_resized_one(known: int, tmp_path: Path) -> None:
    """The larger one of SDXL, whose pooled output is that of the end mark, whether its configuration knows that or not."""
    config = TEXT_XL | {"vocab_size": 653, "eos_token_id": known, "bos_token_id": 651, "pad_token_id": 0}
    torch.manual_seed(3)
    model = CLIPTextModelWithProjection(CLIPTextConfig(**config)).eval()
    model.save_pretrained(tmp_path / "text_encoder")
    before = texts() | {"components/text_encoder/config.json": json.dumps(config)}
    vectors = np.random.default_rng(0).standard_normal((2, 64)).astype(np.float32)
    after, rows, _ = learn(before, ["tokenizer"], ONE, [Given("x", "qjvx", (vectors,))], 77)
    (tmp_path / "config.json").write_text(after["components/text_encoder/config.json"])
    write_rows(rows["text_encoder"], tmp_path / "rows.safetensors")
    laid = {"embeddings": {"learned": Layer(files=Found(tmp_path / "rows.safetensors"))}}
    ours = Reference("clip_text", tmp_path / "config.json", tmp_path / "text_encoder", {"layer": -2}, laid)
    model.resize_token_embeddings(655, mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[653:] = torch.from_numpy(vectors)
        ids = torch.tensor([[651, 5, 653, 654, 6, 652, *[0] * 71]])
        theirs = model(ids, output_hidden_states=True)
        last = model.text_model(ids).last_hidden_state
        pooled = model.text_projection(last[:, 5])
    hidden, found = ours([ids.numpy().astype(np.float32)])
    np.testing.assert_allclose(hidden, theirs.hidden_states[-2].numpy(), atol=1e-5)
    np.testing.assert_allclose(found, pooled.numpy(), atol=1e-5)
    # With the mark that such models are published with, transformers takes the new word for it.
    assert np.allclose(found, theirs.text_embeds.numpy(), atol=1e-5) == (known == 652)


def texts(*, vocab_size: int = 653, width: int = 128, tokenizers: Sequence[str] = ("tokenizer",)) -> dict[str, str]:
    """What a survey finds of a small model."""
    found = {
        f"{folder}/{name}": (SHAPES / "tokenizer" / name).read_text(encoding="utf-8")
        for folder in tokenizers
        for name in ("vocab.json", "merges.txt")
    }
    for number, _ in enumerate(tokenizers):
        name = f"text_encoder_{number + 1}" if number else "text_encoder"
        config = {"vocab_size": vocab_size, "hidden_size": width * (number + 1), "eos_token_id": 2}
        found[f"components/{name}/config.json"] = json.dumps(config)
    return found


def given(token: str, *shapes: tuple[int, int]) -> Given:
    return Given(f"{token}.pt", token, tuple(np.full(shape, number, np.float32) for number, shape in enumerate(shapes)))


ONE = {"text_encoder": ["text_encoder"]}
TWO = {"text_encoder": ["text_encoder"], "text_encoder_2": ["text_encoder_2"]}


def test_two_text_encoders_learn_the_same_numbers() -> None:
    before = texts(tokenizers=("tokenizer", "tokenizer_2"))
    wanted = [given("zq", (1, 128), (1, 256)), given("qjvx", (2, 128), (2, 256))]
    after, rows, numbers = learn(before, ["tokenizer", "tokenizer_2"], TWO, wanted, 77)
    assert numbers == {"zq": [653], "qjvx": [654, 655]}
    assert after["tokenizer/merges.txt"] == after["tokenizer_2/merges.txt"]
    assert after["tokenizer/vocab.json"] == after["tokenizer_2/vocab.json"]
    assert {name: table.shape for name, table in rows.items()} == {"text_encoder": (3, 128), "text_encoder_2": (3, 256)}
    for name in TWO:
        found = json.loads(after[f"components/{name}/config.json"])
        assert (found["vocab_size"], found["eos_token_id"]) == (656, 652)


def test_numbers_start_behind_the_table_even_where_the_tokenizer_knows_fewer() -> None:
    after, _, numbers = learn(
        texts(vocab_size=660), ["tokenizer"], {"text_encoder": ["text_encoder"]}, [given("zq", (1, 128))], 77
    )
    assert numbers == {"zq": [660]}
    assert json.loads(after["components/text_encoder/config.json"])["vocab_size"] == 661


def test_without_a_text_encoder_the_tokenizer_alone_learns() -> None:
    after, rows, numbers = learn(texts(), ["tokenizer"], {"text_encoder": []}, [given("zq", (1, 5))], 77)
    assert (rows, numbers, list(after)) == ({}, {"zq": [653]}, ["tokenizer/vocab.json", "tokenizer/merges.txt"])


@pytest.mark.parametrize(
    ("encoders", "shapes", "message"),
    [
        (
            ONE,
            [(1, 128), (1, 256)],
            "zq.pt: an embedding for two text encoders, as SDXL has, and this pipeline has 1 (text_encoder); name one that was "
            "trained for it",
        ),
        (
            TWO,
            [(1, 128)],
            "zq.pt: an embedding for one text encoder, and this pipeline has 2 (text_encoder, text_encoder_2); name one that "
            "was trained for it",
        ),
        (
            ONE,
            [(1, 768)],
            "zq.pt: its vectors have 768 numbers, and those of text_encoder 128; name an embedding that was trained for this "
            "pipeline",
        ),
        (ONE, [(76, 128)], "zq.pt: 76 vectors, and a prompt has room for 75 between its marks"),
        (
            ONE,
            [(2, 128)],
            "the token zq: the tokenizer takes it for 2 pieces (z, q), and a token with 2 vectors must be 4: with more or "
            "fewer, other words would change; write zqzx",
        ),
    ],
)
def test_embeddings_that_do_not_fit(
    encoders: dict[str, list[str]], shapes: list[tuple[int, int]], message: str
) -> None:
    tokenizers = ["tokenizer", "tokenizer_2"][: len(encoders)]
    with pytest.raises(SourceError) as failure:
        learn(texts(tokenizers=tokenizers), tokenizers, encoders, [given("zq", *shapes)], 77)
    assert str(failure.value) == message


def test_text_encoders_of_different_tables() -> None:
    before = texts(tokenizers=("tokenizer", "tokenizer_2"))
    before["components/text_encoder_2/config.json"] = json.dumps({"vocab_size": 700, "hidden_size": 256})
    with pytest.raises(
        SourceError, match="the text encoders know 653 and 700 tokens, and a new word must have one number"
    ):
        learn(before, ["tokenizer", "tokenizer_2"], TWO, [given("zq", (1, 128), (1, 256))], 77)
