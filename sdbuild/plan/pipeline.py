"""From a recipe to its nodes. Each gets the parameters that matter to it and no others, so that builds share what they can."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any

from sdbuild.plan import stages
from sdbuild.plan.compilers import compiler_parameters
from sdbuild.plan.graph import Build, Graph, Input, Model, Node, Stage, canonical
from sdbuild.plan.keys import tool_version
from sdbuild.plan.sizes import SMALL, Estimates, Expected
from sdbuild.plan.sources import LocalFiles, origin, source_parameters, sources
from sdbuild.recipe import Component, Port, Recipe
from sdbuild.recipe.compression import Step, label
from sdbuild.recipe.sizes import full_bits


def plan(recipes: Iterable[Recipe]) -> Graph:
    """The graph of all that the recipes ask for.

    Raises:
        UserError: a local model can't be read, or a compiler asked for is not on this machine.
    """
    files = LocalFiles()
    return Graph(tuple(_Planner(recipe, files).build() for recipe in recipes))


_VERIFIED_PRECISION = "float32"
_VERIFIED_STEPS = 8  # of the schedule: enough for latents of every kind, from noise to picture
_MIN_CONVERTED_PSNR = (
    50.0  # dB that conversion must keep whatever is asked for: float16 weights cost some, a fault more
)


class _Planner:
    """The nodes of one recipe, and how large their artifacts may become."""

    def __init__(self, recipe: Recipe, files: LocalFiles) -> None:
        self._recipe = recipe
        self._files = files
        self._estimates = Estimates(recipe)
        self._expected: dict[Node, Expected] = {}
        self._compiler = compiler_parameters(recipe.compile)
        self._components = {name: recipe.component(name) for name in recipe.components}

    def build(self) -> Build:
        recipe = self._recipe
        models = {name: self._models(name) for name in self._components}
        flat = tuple(model for found in models.values() for model in found)
        proof = [Input("verify", self._verify(models))] if recipe.verify is not None else []
        bundle = self._bundle(models, flat, proof)
        return Build(recipe.name, recipe.variant, recipe.path, bundle, flat, self._expected)

    def _node(
        self, stage: Stage, name: str, expected: Expected, inputs: Iterable[Input] = (), /, **parameters: Any
    ) -> Node:
        node = Node(stage, name, canonical(parameters), tuple(inputs))
        self._expected[node] = expected
        return node

    @cached_property
    def _config(self) -> Node:
        recipe, family = self._recipe, self._recipe.family
        components = {
            name: {"folder": component.folder, "model_class": component.model_class, "weights": component.weights}
            for name, component in self._components.items()
        }
        encoders = [part for part in family.components.values() if part.role == "text_encoder"]
        folders = [component.folder for component in self._components.values()]
        vae_folders = [component.folder for component in self._components.values() if component.weights == "vae"]
        source, vae = recipe.model.source, recipe.model.vae
        return self._node(
            stages.CONFIG,
            "",
            Expected(SMALL, SMALL),
            source=source_parameters(
                source,
                self._files,
                ["", *folders, *(part.folder for part in encoders), *family.tokenizers, family.scheduler],
            ),
            vae=source_parameters(vae, self._files, ["", *vae_folders]) if vae is not None else None,
            allow_pickle=recipe.model.allow_pickle,
            variant=recipe.model.variant,
            pipeline=family.name,
            components=components,
            encoders={part.folder: part.model_class for part in encoders},
            precision=self._precision_to_judge,
            tokenizers=list(family.tokenizers),
            scheduler=family.scheduler,
            latent_channels=family.latent_channels,
            vae_factor=family.vae_factor,
            vae_scale=family.vae_scale,
            tokens=family.tokens,
        )

    @property
    def _precision_to_judge(self) -> dict[str, str]:
        """Of VAEs that the hub alone knows: those whose own word on float16 may speak against what will be built."""
        recipe = self._recipe
        open_to_advice = [
            name
            for name, component in self._components.items()
            if component.precision == recipe.family.components[name].precision == "float32"
            and name not in recipe.precisions_said
        ]
        names = [*recipe.at_risk_in_float16, *open_to_advice]
        return {name: recipe.precision(name) for name in names if recipe.source_of(name).kind == "hub"}

    def _download(self, component: Component) -> Node:
        folder = component.folder
        return self._node(
            stages.DOWNLOAD,
            folder,
            self._estimates.download(component),
            [Input("files", self._config, f"files/{folder}.json")],
            folder=folder,
            source=source_parameters(sources(self._recipe)[component.weights], self._files, [folder]),
            allow_pickle=self._recipe.model.allow_pickle,
        )

    def _trace(self, name: str) -> Node:
        recipe, component = self._recipe, self._components[name]
        settings: dict[str, Any] = {"kind": component.kind}
        if component.spatial:
            settings |= {
                "height": recipe.resolution.height,
                "width": recipe.resolution.width,
                "vae_factor": recipe.family.vae_factor,
            }
        if component.role in ("decoder", "encoder"):
            settings["vae_scale"] = recipe.family.vae_scale
        if component.batched:
            settings["batch"] = recipe.batch
        if any("tokens" in port.shape for port in component.inputs):
            settings["tokens"] = recipe.family.tokens
        config = Input("config", self._config, f"{component.folder}/config.json")
        return self._node(stages.TRACE, name, Expected(SMALL, SMALL), [config], **settings)

    def _convert(self, name: str) -> Node:
        recipe, component = self._recipe, self._components[name]
        return self._node(
            stages.CONVERT,
            name,
            self._estimates.package(component, ()),
            [
                Input("trace", self._trace(name)),
                Input("weights", self._download(component)),
                Input("card", self._config, f"cards/{component.folder}.json"),
            ],
            package=component.swift_name,
            opset=recipe.opset,
            **({"attention": recipe.attention} if component.attention else {}),
            precision=component.precision,
            inputs=_ports(component.inputs),
            outputs=_ports(component.outputs),
            metadata={"description": component.description, **recipe.model.about},
        )

    def _models(self, name: str) -> list[Model]:
        recipe, component = self._recipe, self._components[name]
        steps = recipe.compress.get(name, ())
        package = self._convert(name)
        expected = self._expected[package]
        if steps:
            expected = self._estimates.package(component, steps)
            package = self._node(
                stages.COMPRESS,
                name,
                expected,
                [Input("package", package)],
                steps=_written(steps),
                code=_code(steps),
            )
        if not (recipe.chunk and component.chunkable):
            return [self._model(name, component.swift_name, name, package, expected)]
        package = self._node(stages.CHUNK, name, expected, [Input("package", package)])
        half = replace(expected, size=expected.size // 2)
        return [
            self._model(name, f"{component.swift_name}Chunk{part}", f"{name}-{part}", package, half) for part in (1, 2)
        ]

    def _model(self, component: str, name: str, task: str, package: Node, expected: Expected) -> Model:
        source = Input("package", package, f"{name}.mlpackage")
        linked = self._compiler["compiler"] == "portable"  # its weights are the package's own
        size = Expected(expected.size, 0 if linked else expected.size)
        steps, full = self._recipe.compress.get(component, ()), full_bits(self._components[component])
        return Model(
            name,
            source,
            self._node(stages.COMPILE, task, size, [source], **self._compiler),
            label(steps, full),
            self._estimates.parameters(self._components[component]),
        )

    @property
    def _tools(self) -> list[str]:
        """Those of all stages, and of the compression steps that there are."""
        steps = [tool for steps in self._recipe.compress.values() for step in steps for tool in step.options.tools]
        return [*(tool for stage in stages.STAGES.values() for tool in stage.tools), *steps]

    @property
    def _sizes(self) -> dict[str, Any]:
        """What whoever runs the pipeline must know of its tensors."""
        recipe, family = self._recipe, self._recipe.family
        return {
            "height": recipe.resolution.height,
            "width": recipe.resolution.width,
            "batch": recipe.batch,
            "tokens": family.tokens,
            "latent_channels": family.latent_channels,
            "vae_factor": family.vae_factor,
            "vae_scale": family.vae_scale,
        }

    @cached_property
    def _originals(self) -> Node:
        """What PyTorch gives, whatever becomes of the weights: variants of one model share it."""
        family = self._recipe.family
        inputs = []
        for name, component in self._components.items():
            inputs += [*self._known(name), Input(f"weights:{name}", self._download(component))]
        images = 8 * 3 * 4 * self._recipe.resolution.width * self._recipe.resolution.height  # of float32, up to eight
        return self._node(
            stages.ORIGINALS,
            "",
            Expected(SMALL + images, SMALL + images),
            [*inputs, Input("scheduler", self._config, f"{family.scheduler}/scheduler_config.json")],
            components=[{"name": name, "kind": component.kind} for name, component in self._components.items()],
            **self._sizes,
            steps=_VERIFIED_STEPS,
        )

    def _known(self, name: str) -> list[Input]:
        """A component's configuration, and its tokenizer if it takes a prompt."""
        component, family = self._components[name], self._recipe.family
        inputs = [Input(f"config:{name}", self._config, f"{component.folder}/config.json")]
        encoders = [each for each, part in self._components.items() if part.role == "text_encoder"]
        if name in encoders:
            inputs.append(Input(f"tokenizer:{name}", self._config, family.tokenizers[encoders.index(name)]))
        return inputs

    def _measure(self, name: str, models: list[Model]) -> Node:
        return self._node(
            stages.MEASURE,
            name,
            Expected(SMALL, SMALL),
            [
                Input("cases", self._originals, name),
                *(Input(node.stage.name, node) for node in _packages(models[0].package.node)),
                *(Input(f"compile:{model.name}", model.compiled, f"{model.name}.mlmodelc") for model in models),
            ],
            **self._ports_and_models(name, models),
            precision=_VERIFIED_PRECISION,
        )

    def _verify(self, models: dict[str, list[Model]]) -> Node:
        """What ships, and what was found of its components."""
        recipe = self._recipe
        assert recipe.verify is not None
        inputs = []
        for name, found in models.items():
            inputs += [
                Input(f"measured:{name}", self._measure(name, found), "measured.json"),
                *self._known(name),
                *(Input(f"compile:{model.name}", model.compiled, f"{model.name}.mlmodelc") for model in found),
            ]
        return self._node(
            stages.VERIFY,
            "",
            Expected(SMALL, SMALL),
            [*inputs, Input("originals", self._originals)],
            components=[
                {"kind": self._components[name].kind, **self._ports_and_models(name, found)}
                for name, found in models.items()
            ],
            **self._sizes,
            precision=_VERIFIED_PRECISION,
            steps=_VERIFIED_STEPS,
            image=recipe.verify.image,
            min_psnr=recipe.verify.min_psnr,
            min_converted_psnr=_MIN_CONVERTED_PSNR,
        )

    def _ports_and_models(self, name: str, models: list[Model]) -> dict[str, Any]:
        component = self._components[name]
        return {
            "name": name,
            "inputs": [port.name for port in component.inputs],
            "outputs": [port.name for port in component.outputs],
            "models": [model.name for model in models],
        }

    def _bundle(self, models: dict[str, list[Model]], flat: tuple[Model, ...], proof: list[Input]) -> Node:
        recipe, family, components = self._recipe, self._recipe.family, self._components
        variant = f"_{recipe.variant}" if recipe.variant else ""
        size = sum(self._expected[model.compiled].size for model in flat)
        return self._node(
            stages.BUNDLE,
            "",
            Expected(2 * size, size) if recipe.bundle.zip else Expected(size, 0),
            [
                *(Input(f"compiled:{model.name}", model.compiled, f"{model.name}.mlmodelc") for model in flat),
                *(Input(f"tokenizer:{folder}", self._config, folder) for folder in family.tokenizers),
                *(
                    Input(f"files:{name}", self._config, f"files/{found.folder}.json")
                    for name, found in components.items()
                ),
                *(
                    Input(f"weights:{name}", self._download(found), "files.json")
                    for name, found in components.items()
                    if recipe.source_of(name).kind == "local"
                ),
                Input("scheduler", self._config, f"{family.scheduler}/scheduler_config.json"),
                Input("notes", self._config, "notes.json"),
                *(Input("denoiser", self._download(each)) for each in components.values() if each.role == "denoiser"),
                *proof,
            ],
            pipeline=family.name,
            networks=[
                components[name].part(name, [model.name for model in found]).data() for name, found in models.items()
            ],
            scheduler_overrides=family.scheduler_overrides,
            sources={name: origin(recipe.source_of(name)) for name in components},
            components={
                name: {
                    "models": [model.name for model in found],
                    "precision": components[name].precision,
                    "compress": _written(recipe.compress.get(name, ())),
                }
                for name, found in models.items()
            },
            **self._sizes,
            attention=recipe.attention,
            compute_units=recipe.compute_units,
            deployment_target=recipe.os,
            compiler=self._compiler,
            tools={tool: tool_version(tool) for tool in self._tools},
            zip=f"{recipe.name}{variant}_{recipe.attention}_compiled" if recipe.bundle.zip else None,
        )


def _packages(last: Node) -> list[Node]:
    """The nodes that wrote a component's package, first to last."""
    found = [last]
    while before := [item.node for item in found[0].inputs if item.role == "package"]:
        found.insert(0, before[0])
    return found


def _ports(ports: tuple[Port, ...]) -> list[dict[str, str]]:
    return [{"name": port.name, "dtype": port.dtype, "description": port.description} for port in ports]


def _written(steps: Iterable[Step]) -> list[dict[str, Any]]:
    """Compression steps as a recipe writes them, with every option said."""
    return [{step.kind: step.options.settings()} for step in steps]


def _code(steps: Iterable[Step]) -> dict[str, Any]:
    """What the steps' own code and tools add to what they write: another step's are no reason to compress again."""
    return {
        step.kind: {"version": step.options.version, "tools": {tool: tool_version(tool) for tool in step.options.tools}}
        for step in steps
    }
