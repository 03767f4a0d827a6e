"""Rules on what the models are built for: system, device, processors, attention."""

from __future__ import annotations

from collections.abc import Iterator

from sdbuild.recipe.catalogue import catalogue
from sdbuild.recipe.compression import unfold
from sdbuild.recipe.local import bears_float16
from sdbuild.recipe.model import Recipe
from sdbuild.recipe.problems import allowed
from sdbuild.recipe.rules import Finding, rule
from sdbuild.recipe.sizes import full_bits
from sdbuild.recipe.targets import FEATURES, NEWEST_YEAR, from_year, year_of
from sdbuild.recipe.written import WrittenRecipe

_UNITS = (("target", "compute_units"), ("target", "device"), ("target",))


@rule("target")
def target_is_named(_recipe: Recipe, written: WrittenRecipe) -> Iterator[Finding]:
    """There is no system that suits everyone."""
    if written.target.os is None and written.target.device is None:
        yield Finding(
            "the target names neither a device nor a system",
            (("target",),),
            ("write for example target: {os: iOS17} or target: {device: iphone-15-pro}",),
            on_key=True,
        )


@rule("target")
def device_runs_os(recipe: Recipe, written: WrittenRecipe) -> Iterator[Finding]:
    """The device must be able to run the system."""
    os, name = written.target.os, written.target.device
    if name is None:
        return
    device = catalogue().devices[name]
    at = (("target", "os"), ("target", "device"))
    if os is not None and recipe.target.platform != device.platform:
        yield Finding(f"{device.title} does not run {os}", at, (allowed(from_year(device.platform, 0)),))
    elif device.last_os is not None and year_of(device.last_os) < recipe.target.year:
        yield Finding(f"{device.title} got no system after {device.last_os}", at, (f"write os: {device.last_os}",))
    elif os is not None and recipe.target.year < min(year_of(device.first_os), NEWEST_YEAR):
        yield Finding(
            f"{device.title} came with {device.first_os}: building for {os} only limits what the models can hold",
            at,
            ("name the oldest device that the app supports, or leave os out",),
            warning=True,
        )


@rule("target")
def device_is_supported(recipe: Recipe, _written: WrittenRecipe) -> Iterator[Finding]:
    """Processors that the device has, and hardware that the reference names."""
    chip = recipe.chip
    if chip is None or recipe.device is None:
        return
    title = catalogue().devices[recipe.device].title
    if not chip.neural_engine and recipe.compute_units == "cpuAndNeuralEngine":
        yield Finding(
            f"{title} has no Neural Engine that Core ML can use", _UNITS, (allowed(["cpuAndGPU", "cpuOnly", "all"]),)
        )
    if not chip.supported:
        yield Finding(
            f"{title} is older than anything Apple's Stable Diffusion package is made for",
            (("target", "device"),),
            ("it starts at iPhones with A14, iPads and Macs with M1",),
            warning=True,
        )


@rule("target", "attention", "components", "pipeline")
def attention_fits(recipe: Recipe, _written: WrittenRecipe) -> Iterator[Finding]:
    """Each attention variant is made for some processors."""
    if not any(recipe.family.components[name].attention for name in recipe.components):
        return
    attention, units, family = recipe.attention, recipe.compute_units, recipe.family
    at = (("attention",), *_UNITS)
    if attention == "original" and units == "cpuAndNeuralEngine":
        yield Finding(
            "original attention is made for CPU and GPU; the Neural Engine needs a split_einsum variant",
            at,
            (f"write attention: {family.neural_engine_attention}, or compute_units: cpuAndGPU",),
        )
    elif attention == "original" and units == "all":
        yield Finding(
            "with compute_units: all Core ML may try original attention on the Neural Engine, which it does not suit",
            at,
            (f"write attention: {family.neural_engine_attention}, or compute_units: cpuAndGPU",),
            warning=True,
        )
    elif attention != "original" and units in ("cpuAndGPU", "cpuOnly"):
        yield Finding(
            f"{attention} attention is made for the Neural Engine: on CPU and GPU the original is faster",
            at,
            ("write attention: original, or compute_units: cpuAndNeuralEngine",),
            warning=True,
        )
    if attention == "split_einsum_v2" and family.neural_engine_attention == "split_einsum":
        yield Finding(
            f"devices take very long to compile {family.title} with split_einsum_v2 at first load: "
            "Apple's own models use split_einsum",
            (("attention",), ("pipeline",)),
            ("write attention: split_einsum",),
            warning=True,
        )


@rule("target", "components", "pipeline", "model", "precision")
def precision_fits(recipe: Recipe, written: WrittenRecipe) -> Iterator[Finding]:
    """Float16 ports need a system that knows them, the Neural Engine computes in float16 alone, and some numbers outgrow it."""
    ports = FEATURES["float16_ports"]
    components = {name: recipe.component(name) for name in recipe.components}
    half = [name for name, part in components.items() if any(port.dtype == "float16" for port in part.inputs)]
    if half and recipe.target.year < ports.year:
        yield Finding(
            f"{ports.title} of {', '.join(half)} need {ports.since}: {ports.reason}",
            (("target", "os"), ("target", "device")),
            (allowed(from_year(recipe.target.platform, ports.year)),),
        )
    single = [name for name, part in components.items() if part.precision == "float32"]
    asked = [name for name in single if name in written.precision]
    if single and recipe.compute_units == "cpuAndNeuralEngine":
        safe = recipe.family.vae_float16_safe
        if asked:
            why, notes = "as the recipe says", ("remove it from precision, or write compute_units: cpuAndGPU",)
        elif safe:
            why = "because float16 overflows in it"
            notes = (
                f"name a VAE made for float16: model.vae: {safe[0]}; where the model's own is (its config.json says "
                f"force_upcast: false), write precision: {{{single[0]}: float16}}",
            )
        else:
            why, notes = "because float16 overflows in it", ("write compute_units: cpuAndGPU",)
        yield Finding(
            f"{', '.join(single)} is built in float32, {why}; the Neural Engine computes in float16 only, so it will run on "
            "the CPU",
            _UNITS,
            notes,
            warning=True,
        )
    for name in recipe.at_risk_in_float16:
        source = recipe.source_of(name)
        if not source.remote and not source.single and not bears_float16(source, recipe.family.components[name].folder):
            yield Finding(
                f"float16 overflows in {name} of {recipe.family.title}, and the config.json of this one does not say "
                "force_upcast: false: images may come out black",
                (("precision", name),),
                (f"remove the key, or name a VAE made for float16: model.vae: {recipe.family.vae_float16_safe[0]}",)
                if recipe.family.vae_float16_safe
                else ("remove the key",),
                warning=True,
                on_key=True,
            )


@rule("target", "compress", "components", "pipeline")
def target_holds_compression(recipe: Recipe, _written: WrittenRecipe) -> Iterator[Finding]:
    """A model can only hold what its system's Core ML knows."""
    packed = []
    for name, steps in recipe.compress.items():
        for index, (step, before) in enumerate(unfold(steps, full_bits(recipe.component(name)))):
            for key, place in step.options.features(before):
                feature = FEATURES[key]
                if recipe.target.year >= feature.year:
                    packed.append(name)
                else:
                    yield Finding(
                        f"{recipe.os} can't hold {feature.title}: {feature.reason}",
                        (("compress", name, index, step.kind, *place),),
                        (f"name a target from {feature.since} on",),
                        on_key=True,
                    )
    stays = FEATURES["compressed_in_memory"]
    if packed and recipe.target.year < stays.year:
        yield Finding(
            f"{recipe.os} expands the compressed weights of {', '.join(dict.fromkeys(packed))} when it loads them: "
            "they save space on disk, not in memory",
            (("target", "os"), ("target", "device"), ("compress",)),
            (f"weights stay compressed from {stays.since} on",),
            warning=True,
        )
