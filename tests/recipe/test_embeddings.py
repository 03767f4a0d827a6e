"""What recipes say of learned embeddings."""

from pathlib import Path

import pytest

from sdbuild.plan import plan
from sdbuild.recipe import Recipe, RecipeError, load_recipe

BASE = "name: x\npipeline: sd1\nmodel:\n  source: builtin:shapes\n  embeddings:\n{}target: {{os: macOS14}}\nresolution: 64x64\n"


def load(folder: Path, *embeddings: str) -> Recipe:
    (folder / "x.yaml").write_text(BASE.format("".join(f"    - {{{each}}}\n" for each in embeddings)))
    (recipe,) = load_recipe(folder / "x.yaml").recipes
    return recipe


def test_each_kind_of_source(tmp_path: Path) -> None:
    (tmp_path / "one.pt").write_bytes(b"1")
    recipe = load(
        tmp_path,
        "source: ./one.pt, token: a",
        f"source: org/two, token: b, revision: {'a' * 40}",
        f"source: org/three/deep/one.bin, token: c, revision: {'b' * 40}",
        "source: 'builtin:shapes/embeddings/grezquz.safetensors', token: d",
        f"source: https://host/some/where/one.pt, token: e, sha256: {'c' * 64}",
    )
    found = [(each.token, each.source.kind, each.source.id, each.file) for each in recipe.model.embeddings]
    assert found == [
        ("a", "file", "./one.pt", None),
        ("b", "hub", "org/two", None),
        ("c", "hub", "org/three", "deep/one.bin"),
        ("d", "builtin", "shapes", "embeddings/grezquz.safetensors"),
        ("e", "web", "https://host/some/where/one.pt", None),
    ]
    jobs = plan([recipe]).tasks["config"].job.embeddings
    assert [(each.source.kind, each.source.id, each.source.revision, each.file) for each in jobs] == [
        ("file", "./one.pt", None, "one.pt"),
        ("hub", "org/two", "a" * 40, None),
        ("hub", "org/three", "b" * 40, "deep/one.bin"),
        ("builtin", "shapes", None, "embeddings/grezquz.safetensors"),
        ("web", "https://host/some/where/one.pt", None, None),
    ]
    assert jobs[4].source.sha256 == "c" * 64
    assert list(jobs[0].source.files) == ["one.pt"] and jobs[0].source.path == str(tmp_path)


def test_a_file_that_is_edited_changes_config_and_the_order_of_tokens_does(tmp_path: Path) -> None:
    (tmp_path / "one.pt").write_bytes(b"1")
    (tmp_path / "two.pt").write_bytes(b"2")
    one, two = "source: ./one.pt, token: a", "source: ./two.pt, token: b"

    def job() -> object:
        return plan([load(tmp_path, *wanted)]).tasks["config"].job

    wanted = [one, two]
    before = job()
    assert job() == before
    (tmp_path / "one.pt").write_bytes(b"12")
    assert job() != before
    before, wanted = job(), [two, one]
    assert job() != before


def test_text_encoders_alone_get_rows(tmp_path: Path) -> None:
    graph = plan([load(tmp_path, "source: 'builtin:shapes/embeddings/grezquz.safetensors', token: d")])
    laid = {name: bool(node.job.overlays) for name, node in graph.tasks.items() if name.startswith("convert:")}
    assert laid == {"convert:text_encoder": True, "convert:unet": False, "convert:vae_decoder": False}


@pytest.mark.parametrize(
    ("embedding", "message"),
    [
        ("source: ./one.pt", "'token' is missing"),
        (
            "source: ./one.pt, token: Style-X",
            "a token is one word of small letters, a to z: tokenizers take all else apart",
        ),
        ("source: ./one.pt, token: Style-X", "did you mean 'stylex'?"),
        ("source: ./none.pt, token: a", "no file './none.pt'"),
        ("source: ., token: a", "'.' is a folder: name the file of the embedding"),
        ("source: ./x.yaml, token: a", "'./x.yaml' is no embedding"),
        (
            "source: 'builtin:shapes/embeddings/grezquy.safetensors', token: a",
            "did you mean 'builtin:shapes/embeddings/grezquz",
        ),
        ("source: builtin:shapes, token: a", "no built-in embedding 'builtin:shapes'"),
        ("source: builtin:shape, token: a", "no built-in model 'shape'"),
        ("source: ./one.pt, token: a, revision: b", "a file on this machine has no `revision`"),
        (f"source: ./one.pt, token: a, sha256: {'a' * 64}", "a file on this machine has no `sha256`"),
        (
            "source: https://host/a/one.pt, token: a",
            "'https://host/a/one.pt' needs `sha256:`: what is at an address may change",
        ),
        (f"source: org/one, token: a, sha256: {'a' * 64}", "`sha256` is for a file at an address"),
        ("source: one, token: a", "'one' is neither a hub id, nor a folder, nor a built-in model"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, embedding: str, message: str) -> None:
    (tmp_path / "one.pt").write_bytes(b"1")
    with pytest.raises(RecipeError) as refused:
        load(tmp_path, embedding)
    assert message in " ".join(str(refused.value).split())


def test_two_embeddings_of_one_token(tmp_path: Path) -> None:
    (tmp_path / "one.pt").write_bytes(b"1")
    with pytest.raises(RecipeError, match="two embeddings have the token 'a'"):
        load(tmp_path, "source: ./one.pt, token: a", "source: ./one.pt, token: a")


def test_a_revision_that_moves_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(BASE.format("    - {source: org/one/a.pt, token: a}\n"))
    (warning,) = load_recipe(tmp_path / "x.yaml").warnings
    assert "'org/one' has no revision: the same recipe may give other bytes tomorrow" in warning


def test_paths_start_at_the_file_that_they_are_written_in(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "one.pt").write_bytes(b"1")
    (tmp_path / "base" / "base.yaml").write_text(BASE.format("    - {source: ./one.pt, token: a}\n"))
    (tmp_path / "x.yaml").write_text("extends: base/base.yaml\nname: y\n")
    (recipe,) = load_recipe(tmp_path / "x.yaml").recipes
    assert recipe.model.embeddings[0].source.file == tmp_path / "base" / "one.pt"


def test_sdxl_grows_both_text_encoders_for_conversion_and_for_the_originals(tmp_path: Path) -> None:
    (tmp_path / "one.safetensors").write_bytes(b"1")
    (tmp_path / "xl.yaml").write_text(
        f"name: xl\npipeline: sdxl\nmodel: {{source: org/xl, revision: {'a' * 40}, embeddings: [{{source: ./one.safetensors, "
        "token: a}]}\ntarget: {os: macOS14}\nverify: {}\n"
    )
    graph = plan(load_recipe(tmp_path / "xl.yaml").recipes)
    encoders = {"text_encoder", "text_encoder_2"}
    converted = {name.partition(":")[2] for name, node in graph.tasks.items() if getattr(node.job, "overlays", None)}
    originals = {each.name for each in graph.tasks["originals"].job.components if each.overlays}
    assert converted == originals == encoders
    for task in ("originals", "verify", "bundle"):
        assert graph.tasks[task].job.embeddings.subpath == "embeddings.json"
