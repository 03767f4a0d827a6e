"""Components built as `doit build` builds them, for the verification to look at."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from sdbuild.compress.palettize import palettize
from sdbuild.coreml.chunk import chunk
from sdbuild.coreml.compiler import compile_package
from sdbuild.coreml.convert import Metadata, Port, convert
from sdbuild.coreml.encodings import Dense, Encoding
from sdbuild.coreml.package import read_package
from sdbuild.coreml.rewrite import Weight, rewrite
from sdbuild.coreml.runtime.storage import Precision
from sdbuild.graphs import read_graph
from sdbuild.modeling.checkpoint import Checkpoint, weight_files
from sdbuild.opset import Opset
from sdbuild.recipe import load_family
from sdbuild.verify.generate import count_generating, generate
from sdbuild.verify.generation import Generation
from sdbuild.verify.measure import measure, unchanged
from sdbuild.verify.pipeline import PROMPTS, Pipeline, Subject
from sdbuild.verify.recording import count_runs, run_originals
from sdbuild.verify.report import Report, kept
from sdbuild.wiring import Sizes
from tests.architectures import Shape, make, options, part
from tests.once import traced

SHAPES = Path(__file__).parents[2] / "sdbuild" / "shapes" / "model"
VAE_SCALE = 0.18215
SCHEDULER = json.loads((SHAPES / "scheduler" / "scheduler_config.json").read_text())


@dataclass(frozen=True)
class Source:
    """Where a component comes from: its kind, its config.json and the folder of its weights."""

    kind: str
    config: Path
    weights: Path


def shapes(folder: str, kind: str) -> Source:
    """A component of the model that comes with sdbuild."""
    return Source(kind, SHAPES / folder / "config.json", SHAPES / folder)


def saved(path: Path, kind: str, config: dict[str, Any]) -> Source:
    """A scaled-down model with seeded weights, as its library would save it."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    save_file(
        {name: tensor.half() for name, tensor in make(kind, config).state_dict().items()}, path / "model.safetensors"
    )
    return Source(kind, path / "config.json", path)


def built(
    folder: Path, name: str, source: Source, shape: Shape, *, bits: int | None = None, chunked: bool = False
) -> Subject:
    """Every stage of a component, in half precision, its artifacts under ``folder``."""
    folder.mkdir(parents=True)
    component = part(source.kind) if name != "text_encoder_2" else load_family("sdxl").components[name]
    inputs, outputs = ([port.name for port in ports] for ports in (component.inputs, component.outputs))
    model = folder / "Model.mlpackage"
    dtype = "float32" if source.kind.startswith("clip") else "float16"
    convert(
        read_graph(traced(source.kind, json.loads(source.config.read_text()), shape)),
        Checkpoint(weight_files(source.weights)).load,
        model,
        inputs=[Port(port, dtype) for port in inputs],
        outputs=[Port(port, "float32") for port in outputs],
        opset=Opset.IOS17,
        precision="float16",
        metadata=Metadata(),
    )
    tokenizer = SHAPES / "tokenizer" if source.kind.startswith("clip") else None
    stages = {"convert": [model], "compile": []}
    subject = Subject(
        name=name,
        inputs=inputs,
        outputs=outputs,
        part=component.part(name),
        stages=stages,
        kind=component.kind,
        options=options(source.kind, VAE_SCALE),
        config=source.config,
        weights=source.weights,
        tokenizer=tokenizer,
    )
    return finished(folder, subject, bits=bits, chunked=chunked)


def finished(folder: Path, subject: Subject, *, bits: int | None = None, chunked: bool = False) -> Subject:
    """The component with other stages after its conversion, their artifacts under ``folder``."""
    (model,) = subject.stages["convert"]
    stages = {"convert": [model]}
    if bits is not None:
        model = _compress(model, folder / "compressed" / "Model.mlpackage", bits)
        stages["compress"] = [model]
    if chunked:
        stages["chunk"] = [folder / f"ModelChunk{number}.mlpackage" for number in (1, 2)]
        chunk(read_package(model), *stages["chunk"], lambda done, total: None)
    return replace(subject, stages={**stages, "compile": [compiled(path) for path in stages.get("chunk", [model])]})


def compiled(package: Path) -> Path:
    """The ``.mlmodelc`` beside a package, made now unless it was before."""
    path = package.with_suffix(".mlmodelc")
    if not path.exists():
        compile_package(package, path)
    return path


def with_stage(subject: Subject, stage: str, paths: list[Path]) -> Subject:
    """The component with another result of a stage, and of no stage after it but the compiler's."""
    names = list(subject.stages)
    kept: Mapping[str, Any] = {name: subject.stages[name] for name in names[: names.index(stage)]}
    last = {} if stage == "compile" else {"compile": [compiled(path) for path in paths]}
    return replace(subject, stages={**kept, stage: paths, **last})


def generation(shape: Shape) -> Generation:
    """How to generate in few steps."""
    sizes = Sizes(
        height=shape.height,
        width=shape.width,
        batch=shape.batch,
        tokens=shape.tokens,
        latent_channels=4,
        vae_factor=8,
        vae_scale=VAE_SCALE,
    )
    return Generation(sizes, SCHEDULER, steps=4)


def verify(
    subjects: list[Subject],
    generation: Generation,
    precision: Precision = "float32",
    min_psnr: Mapping[str, float] | None = None,
    min_converted_psnr: float = 50,
) -> Report:
    """What the stages originals, measure and verify do, in one process. They announce as many runs as they make."""
    pipeline, runs = Pipeline(subjects, generation), []
    cases = run_originals(pipeline, lambda: runs.append("original"))
    equal = {subject.name: unchanged(subject) for subject in subjects}
    measured = {
        name: measure(subject, equal[name], cases[name], precision, lambda: runs.append("measured"))
        for name, subject in ((each.name, each) for each in subjects)
    }
    image = None
    if pipeline.generates:
        image = generate(pipeline, cases, precision, lambda: runs.append("generating"))
        assert runs.count("generating") == count_generating(pipeline)
    assert runs.count("original") == count_runs(pipeline)
    assert runs.count("measured") == sum(
        len(cases[subject.name]) * (len(subject.stages) - len(equal[subject.name])) for subject in subjects
    )
    generated = {
        "prompt": PROMPTS["prompt"],
        "steps": generation.steps,
        "guidance": generation.guidance,
        "seed": generation.seed,
    }
    return Report(precision, measured, image, generated, min_psnr or {}, kept(min_converted_psnr))


def _compress(source: Path, path: Path, bits: int) -> Path:
    def encode(weight: Weight) -> Encoding:
        if weight.data.size < 2048 or weight.data.ndim < 2 or any(user.type == "gather" for user in weight.users):
            return Dense(weight.data)
        return palettize(weight.data, bits, weight.name)

    path.parent.mkdir()
    rewrite(read_package(source), path, encode, lambda done, total: None)
    return path
