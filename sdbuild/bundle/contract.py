"""Check a Resources folder against what Apple's Swift package asks of it; the rules are data, see ``contracts``.

Every compiled model is opened: its interface, its metadata, its program's header and its weights' records are looked at.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sdbuild.bundle import contracts
from sdbuild.bundle.compiled import Compiled, Feature, read_compiled
from sdbuild.bundle.rules import FLOATS, Model, Pipeline, Port
from sdbuild.bundle.sizes import Sizes
from sdbuild.bundle.swift import CONTROLNET
from sdbuild.bundle.tokenizer import check_tokenizer
from sdbuild.bundle.violation import Violation
from sdbuild.errors import UserError

_SUFFIX = ".mlmodelc"
_CHUNKS = ("Chunk1", "Chunk2")
_ONE_RECIPE = "build it so, all models from one recipe"
_CONVERT = "convert it again"
_UNHEEDED = "what the app passes as it has no influence on the image"


@dataclass(frozen=True)
class Expectations:
    """What the folder was built for.

    Attributes:
        contract: the family's, see `contracts`.
        height: of the image in pixels; None: any that the models agree on.
        width: likewise.
        vae_factor: image pixels for one latent pixel, along each side.
        batch: of the UNet; None: any that the app can use.
        models: optional models that must be there, by their Swift names ("VAEEncoder").
        float16_vae: the VAE is known to bear float16 arithmetic, which that of SDXL does not.
    """

    contract: str
    height: int | None = None
    width: int | None = None
    vae_factor: int = 8
    batch: int | None = None
    models: Collection[str] = ()
    float16_vae: bool = False


class ContractError(UserError):
    """A Resources folder that the app cannot use; the message has a line for each violation."""

    def __init__(self, violations: Collection[Violation]) -> None:
        """List ``violations``."""
        count = f"{len(violations)} violations" if len(violations) > 1 else "1 violation"
        super().__init__(
            "\n".join([f"bundle: {count} of the Swift package's contract:", *(f"  {v}" for v in violations)])
        )


def check_resources(folder: Path, expectations: Expectations) -> list[Violation]:
    """All that the Swift package would stumble over in ``folder``; an empty list for a good one.

    Raises:
        UserError: no such folder, or no rules for the pipeline.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of resources")
    if expectations.contract not in contracts.names():
        raise UserError(f"bundle: no contract '{expectations.contract}' (known: {', '.join(contracts.names())})")
    pipeline = contracts.find(expectations.contract)
    present = {entry.name for entry in folder.iterdir()}
    if pipeline.multilingual and pipeline.multilingual.models[0].name + _SUFFIX in present:
        pipeline = pipeline.multilingual
    return _Check(folder, expectations, pipeline, present).run()


class _Check:
    """One run over a folder."""

    def __init__(self, folder: Path, expectations: Expectations, pipeline: Pipeline, present: Collection[str]) -> None:
        self._folder = folder
        self._expectations = expectations
        self._pipeline = pipeline
        self._present = present  # names as they are, even on a file system that ignores case
        self._violations: list[Violation] = []
        self._explained: set[str] = set()  # entries that a violation has spoken of
        factor = expectations.vae_factor
        known = {name: (number, "in this pipeline") for name, number in pipeline.sizes.items()} | {
            "vae_factor": (factor, "in this pipeline")
        }
        for name, size in (("height", expectations.height), ("width", expectations.width)):
            if size is not None:
                known[f"latent_{name}"] = (size // factor, f"for an image {name} of {size}")
        if expectations.batch is not None:
            known["batch"] = (expectations.batch, "in the recipe")
        self._sizes = Sizes(known, pipeline.choices)

    def run(self) -> list[Violation]:
        for rule in self._pipeline.models:
            self._check(rule)
        if self._pipeline.controlled:
            self._check_controlnets(self._pipeline.controlled)
        if self._pipeline.vocabulary:
            self._violations += check_tokenizer(self._folder, self._present, self._pipeline.vocabulary)
        self._check_strays()
        return self._violations

    def _report(self, file: str, what: str, why: str, remedy: str) -> None:
        self._violations.append(Violation(file, what, why, remedy))

    def _check(self, rule: Model) -> None:
        """A model: whole, or in two chunks."""
        whole, chunks = rule.name + _SUFFIX, [rule.name + number + _SUFFIX for number in _CHUNKS]
        there = [name for name in chunks if name in self._present] if rule.chunkable else []
        if len(there) == 2:
            if whole in self._present:
                self._report(whole, "superfluous", "the app opens the two chunks and never this", "remove it")
            self._check_chunks(rule, *there)
            return
        if len(there) == 1:
            other = next(name for name in chunks if name not in there)
            remedy = f"add it, or remove {there[0]} and ship {whole}"
            self._report(other, f"missing beside {there[0]}", "the app uses chunks only where it finds both", remedy)
        if whole in self._present:
            model = self._open(whole)
            if model is not None:
                self._check_whole(rule, whole, model)
        elif not there and (rule.required or rule.name in self._expectations.models):
            self._report_missing(whole)

    def _report_missing(self, name: str) -> None:
        alike = sorted(other for other in self._present if other.lower() == name.lower())
        if alike:
            why, remedy = "a device tells capitals from small letters and finds no model", "rename it"
            self._report(name, f"missing, though {alike[0]} is there", why, remedy)
            self._explained.update(alike)
        else:
            self._report(name, "missing", "the app opens it by this name and fails", "build it and add it")

    def _open(self, name: str) -> Compiled | None:
        model, violations = read_compiled(self._folder / name, name)
        self._violations += violations
        return model

    def _check_whole(self, rule: Model, name: str, model: Compiled) -> None:
        self._check_ports(name, "input", rule.inputs, model.inputs)
        self._check_outputs(rule, name, model)
        self._check_precision(rule, name, model)

    def _check_outputs(self, rule: Model, name: str, model: Compiled) -> None:
        self._check_ports(name, "output", rule.outputs, model.outputs, more=rule.more_outputs)
        self._check_float32_outputs(name, model)

    def _check_float32_outputs(self, name: str, model: Compiled) -> None:
        for feature in model.outputs.values():
            if feature.dtype != "Float32":
                why = "reading it as Float32 crashes the app on some Macs"
                self._report(name, f"the output {feature.name} is {feature.dtype}", why, "convert with Float32 outputs")

    def _check_precision(self, rule: Model, name: str, model: Compiled) -> None:
        if rule.overflows and "Float16" in model.precision and not self._expectations.float16_vae:
            why = "this VAE overflows there, and images come out black"
            remedy = "build it in float32, or name a VAE made for float16 such as madebyollin/sdxl-vae-fp16-fix"
            self._report(name, f"computes in Float16 ({model.precision})", why, remedy)

    def _check_ports(
        self, name: str, role: str, ports: tuple[Port, ...], features: Mapping[str, Feature], *, more: bool = False
    ) -> None:
        """The inputs or the outputs of a model; ``more`` may be there."""
        sole = len(ports) == 1 and not more
        if sole and len(features) != 1:
            names = f": {', '.join(sorted(features))}" if features else ""
            why = f"the app takes whichever it finds first as the {role}"
            self._report(name, f"has {len(features)} {role}s{names}", why, f"keep only {ports[0].name or 'one'}")
            return
        for port in ports:
            feature = next(iter(features.values())) if sole else features.get(str(port.name))
            if feature is None:
                asked = role == "output" or port.probed
                why = "the app asks for it by this name and crashes" if asked else _UNHEEDED
                self._report(name, f"lacks the {role} {port.name}", why, _CONVERT)
                continue
            if port.name not in (None, feature.name):
                why = f"tools other than the app ask for {port.name}"
                self._report(name, f"the {role} is called {feature.name}", why, "rename it when converting")
            self._check_port(name, role, port, feature)
        known = {port.name for port in ports}
        for extra in sorted(set(features) - known) if not sole and not more else ():
            self._report(name, f"has the {role} {extra}", "the app does not pass it, and prediction fails", _CONVERT)

    def _check_port(self, name: str, role: str, port: Port, feature: Feature) -> None:
        if role == "input" and feature.dtype not in port.dtypes:
            allowed = " or ".join(sorted(port.dtypes))
            why = "what the app passes would not survive the conversion"
            self._report(name, f"the input {feature.name} is {feature.dtype}", why, f"declare it {allowed}")
        if port.shape is None or feature.shape is None:  # not asked for, or not told by an old model
            return
        where = f"in {name.removesuffix(_SUFFIX)}'s {feature.name}"
        if expected := self._sizes.disagreement(feature.shape, port.shape, where):
            what = f"the {role} {feature.name} is {list(feature.shape)}, not {expected}"
            self._report(name, what, port.why, _ONE_RECIPE)

    def _check_chunks(self, rule: Model, first_name: str, second_name: str) -> None:
        first, second = self._open(first_name), self._open(second_name)
        if first is None or second is None:
            return
        own = {str(port.name): port for port in rule.inputs}
        for port_name, port in own.items():
            holders = [(n, m) for n, m in ((first_name, first), (second_name, second)) if port_name in m.inputs]
            for name, model in holders:
                self._check_port(name, "input", port, model.inputs[port_name])
            if port.probed and port_name not in first.inputs:
                why = "the app reads its shape off the first chunk and crashes"
                self._report(first_name, f"lacks the input {port_name}", why, "cut it again, keeping this input")
            elif not holders:
                self._report(first_name, f"lacks the input {port_name}, and so does chunk 2", _UNHEEDED, _CONVERT)
        for extra in sorted(first.inputs.keys() - own):
            self._report(
                first_name, f"has the input {extra}", "the app does not pass it, and prediction fails", _CONVERT
            )
        for shadow in sorted(first.outputs.keys() & own):
            why = "in the second chunk it takes the place of the input of that name"
            self._report(first_name, f"has the output {shadow}", why, "cut it again, with another name")
        for link in sorted(second.inputs.keys() - own):
            self._check_link(first_name, first, second_name, second.inputs[link])
        self._check_float32_outputs(first_name, first)
        self._check_outputs(rule, second_name, second)

    def _check_link(self, first_name: str, first: Compiled, second_name: str, taken: Feature) -> None:
        """An input of the second chunk that the app does not pass."""
        again = "cut both chunks from one model"
        given = first.outputs.get(taken.name)
        if given is None:
            why = "neither the app nor the first chunk gives it, and prediction fails"
            self._report(second_name, f"has the input {taken.name}", why, again)
        elif given.shape is not None and taken.shape is not None and given.shape != taken.shape:
            what = f"the input {taken.name} is {list(taken.shape)}, {list(given.shape)} as {first_name} gives it"
            self._report(second_name, what, "prediction fails", again)
        elif taken.dtype not in FLOATS:
            why = "what the first chunk gives would not survive the conversion"
            self._report(second_name, f"the input {taken.name} is {taken.dtype}", why, again)

    def _check_controlnets(self, controlled: Model) -> None:
        """ControlNets, and the UNet that takes what they give: all or none."""
        names = sorted(f"controlnet/{path.name}" for path in (self._folder / "controlnet").glob(f"*{_SUFFIX}"))
        residuals: dict[str, Port] = {}
        for name in names:
            model = self._open(name)
            if model is not None:
                self._check_whole(CONTROLNET, name, model)
                residuals |= {output.name: Port(output.name, output.shape) for output in model.outputs.values()}
        unets = [controlled.name + ending + _SUFFIX for ending in ("", *_CHUNKS)]
        if names:
            self._check(replace(controlled, inputs=(*controlled.inputs, *residuals.values()), required=True))
        for unet in unets if not names else ():
            if unet in self._present:
                why = "the app opens it only along with ControlNets"
                self._report(unet, "superfluous without controlnet/", why, "add them, or remove it")

    def _check_strays(self) -> None:
        rules = [*self._pipeline.models, *([self._pipeline.controlled] if self._pipeline.controlled else [])]
        known = {
            rule.name + ending + _SUFFIX for rule in rules for ending in ("", *(_CHUNKS if rule.chunkable else ()))
        }
        for name in sorted(self._present):
            if not name.endswith((_SUFFIX, ".mlpackage")) or name in known | self._explained:
                continue
            alike = [other for other in known if other.lower() == name.lower()]
            remedy = f"rename it {alike[0]}" if alike else "remove it"
            self._report(name, "not a name that the app opens", "it is never used", remedy)
