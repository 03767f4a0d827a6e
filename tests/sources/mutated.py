"""Models of people who edited their files, or whose disk did: small pipelines in memory with a few configurations changed."""

import json
import random
from typing import Any

from sdbuild.errors import SourceError
from sdbuild.sources.base import Progress, SourceFile
from tests.matrix.models import SD1, SDXL, Model
from tests.sources.make_models import MERGES, as_json, sharded, weights

WORDS = ["<|startoftext|>", "<|endoftext|>", "b", "c</w>", "bc</w>"]
ODD: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        7,
        0.5,
        1e300,
        -1e-300,
        10**9,
        2**63,
        10**30,
        "",
        "2",
        "silu",
        "x" * 300,
        "\x1b[31m",
    ),
    *([], {}, [0], [[]], [1, 2, 3, 4], ["a"], {"a": 1}, [None], [True], [1] * 100, [[[1]]], "UNet2DConditionModel"),
    *("DownBlock2D", "CrossAttnUpBlock2D", "text_time", [8, 8], [32, 64], 64, 32, 1e5, [None, None], {"0": []}),
]
KEYS = [
    *("quantization_config", "attn_implementation", "auto_map", "torch_dtype", "pruned_heads", "_x", "of_tomorrow", ""),
    *(
        "time_cond_proj_dim",
        "force_upcast",
        "vision_config_dict",
        "requires_aesthetics_score",
        "\ud800",
        "attention_type",
    ),
]
BYTES = [
    b"",
    b"[" * 2000,
    b'{"a":' * 500,
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"NaN",
    b"1e999",
    b"9" * 5000,
    b'"\\udfff"',
    b"\x00",
]


def whole(model: Model) -> dict[str, bytes]:
    """Its files, with a tokenizer of few words and added ones in every place where they can be."""
    files = {f"{folder}/config.json": as_json(config) for folder, (_, config) in model.parts.items()}
    for folder in model.parts:
        name = "diffusion_pytorch_model" if folder in ("unet", "vae") else "model"
        files[f"{folder}/{name}.safetensors"] = weights(1, 10)
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    added = [{"content": "<new>", "id": 5}]
    for folder in model.tokenizers:
        files |= {f"{folder}/vocab.json": as_json(vocabulary), f"{folder}/merges.txt": MERGES.encode()}
        files[f"{folder}/added_tokens.json"] = as_json({"<new>": 5})
        files[f"{folder}/tokenizer_config.json"] = as_json({"added_tokens_decoder": {"5": {"content": "<new>"}}})
    files["tokenizer/tokenizer.json"] = as_json(
        {"model": {"vocab": vocabulary, "merges": [["b", "c</w>"]]}, "added_tokens": added}
    )
    files["scheduler/scheduler_config.json"] = as_json(model.scheduler)
    files["model_index.json"] = as_json({"_class_name": model.pipeline, "unet": ["diffusers", "UNet2DConditionModel"]})
    files["README.md"] = b"---\nlicense: mit\ntags: [a]\n---\n# A model\n"
    return sharded(files, "unet", "diffusion_pytorch_model")


WHOLE = {"sd1": whole(SD1), "sdxl": whole(SDXL)}


class MemorySource:
    """A source whose files are nowhere."""

    name, title, commit, single = "model", None, None, None

    def __init__(self, contents: dict[str, bytes]) -> None:
        self._contents = contents
        self.files = {path: SourceFile(path, len(body)) for path, body in contents.items()}

    def read(self, path: str) -> bytes:
        if path not in self._contents:
            raise SourceError(f"model: there is no {path}")
        return self._contents[path]

    def read_start(self, path: str, count: int) -> bytes:
        return self._contents[path][:count]

    def fetch(self, file: SourceFile, folder: Any, scratch: Any, progress: Progress) -> None:
        raise NotImplementedError


def mutated(family: str, chance: random.Random) -> dict[str, bytes]:
    """A pipeline with one to three faults in the files that are read."""
    files = dict(WHOLE[family])
    read = sorted(path for path in files if not path.endswith(".safetensors"))
    for _ in range(chance.choice((1, 1, 2, 3))):
        path = chance.choice(read)
        edit = chance.choice((_edit_value, _edit_value, _edit_value, _edit_bytes, _remove))
        edit(files, path, chance)
    return files


def _edit_value(files: dict[str, bytes], path: str, chance: random.Random) -> None:
    """Another value, or another key, somewhere in the JSON."""
    try:
        tree = json.loads(files[path])
    except (KeyError, ValueError, RecursionError):
        return
    places = list(_places(tree))
    if not places:
        return
    holder, key = chance.choice(places)
    match chance.randrange(6):
        case 0 if isinstance(holder, dict):
            holder[chance.choice(KEYS)] = chance.choice(ODD)
        case 1:
            del holder[key]
        case 2:
            holder[key] = [holder[key]]
        case 3 if isinstance(holder[key], int | float):
            holder[key] = chance.choice(
                (-holder[key], holder[key] + 1, holder[key] * 2, holder[key] / 3, str(holder[key]))
            )
        case _:
            holder[key] = chance.choice(ODD)
    files[path] = json.dumps(tree).encode()


def _places(tree: Any) -> Any:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key
        yield from _places(value)


def _edit_bytes(files: dict[str, bytes], path: str, chance: random.Random) -> None:
    body = files.get(path, b"")
    at, to = sorted((chance.randint(0, len(body)), chance.randint(0, len(body))))
    to = chance.choice((at, at + 1, to))
    middle = chance.choice((chance.choice(BYTES), body[at:to] * 2, bytes([chance.randrange(256)])))
    files[path] = chance.choice((body[:at] + middle + body[to:], body.decode("latin-1").encode("utf-16"), middle))


def _remove(files: dict[str, bytes], path: str, chance: random.Random) -> None:
    files.pop(path, None)
