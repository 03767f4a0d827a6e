"""What a model's ``scheduler_config.json`` means, settled once: what its UNet predicts, and on which schedule of noise.

Later stages, the manifest and `doit generate` take what comes of it as it stands, so nobody has to guess. What a configuration
leaves out has the documented default of its class in diffusers.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sdbuild.errors import SourceError
from sdbuild.noise_schedule import find_fault
from sdbuild.scheduler_kinds import CONSISTENCY, lacking_consistency
from sdbuild.sources.base import shown

Config = Mapping[str, Any]

_PREDICTIONS = ("epsilon", "v_prediction")
_SPACINGS = ("linspace", "leading", "trailing")
_BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace", "exp")
_RESCALING = frozenset(
    f"{name}Scheduler"
    for name in (
        "DDIM",
        "DDIMInverse",
        "DDIMParallel",
        "DDPM",
        "DDPMParallel",
        "DPMSolverMultistep",
        "EulerAncestralDiscrete",
        "EulerDiscrete",
        "LCM",
        "TCD",
        "UniPCMultistep",
    )
)
"""Those of diffusers that take ``rescale_betas_zero_snr``; the others leave it unread."""
_CLASSES = _RESCALING | {
    f"{name}Scheduler"
    for name in (
        "DEISMultistep",
        "DPMSolverMultistepInverse",
        "DPMSolverSDE",
        "DPMSolverSinglestep",
        "HeunDiscrete",
        "IPNDM",
        "KDPM2AncestralDiscrete",
        "KDPM2Discrete",
        "LMSDiscrete",
        "PNDM",
        "SASolver",
    )
}
"""Those of diffusers for models that were trained on DDPM's schedule of noise."""
_SCALED_LINEAR = frozenset({"LCMScheduler", "TCDScheduler"})  # their default; that of the others is linear
_SWIFT = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "num_train_timesteps": 1000}
"""What the Swift package's schedulers are made with, whatever the model."""
_TRAILING = (
    "timestep_spacing is trailing: of the Swift package's schedulers take DPM-Solver++ with schedulerTimestepSpacing linspace, "
    "its default, whose times are these within one; PNDM, and the spacing leading, leave out the last time"
)


@dataclass(frozen=True)
class Schedule:
    """``config``: the configuration, with what was settled in it; ``notes``: what the user and the app's author should know."""

    config: dict[str, Any]
    notes: tuple[str, ...]


def resolve_scheduler(source: str, config: Config, index: Config, changes: Mapping[str, Any] | None = None) -> Schedule:
    """Settle the scheduler of a model by its ``scheduler_config.json`` and ``model_index.json``, which names its class as well.

    ``changes`` are a recipe's, and go before both; what the model was trained for they can't make another.

    Raises:
        SourceError: flow matching, EDM, or anything else that is not known to be noise on DDPM's schedule; ``source`` is for
            messages.
    """
    if changes:
        _refuse_kinds(source, config, index)
        source, config = f"{source}, with the recipe's `model.scheduler`", {**config, **changes}
        if "_class_name" in changes:
            index = {**index, "scheduler": ["diffusers", changes["_class_name"]]}
    own, named = config.get("_class_name") or None, _named(index)
    kind = named or own  # diffusers makes the class that model_index.json names, of whatever configuration
    _refuse_kinds(source, config, index)
    _check_words(source, config)
    _check_numbers(source, config)
    settled = {key: value for key, value in config.items() if key != "_class_name"}
    settled |= {"_class_name": kind} if kind else {}
    settled.setdefault("prediction_type", _PREDICTIONS[0])
    notes = _notes(settled)
    if own is not None and own != kind:
        notes = (
            f"scheduler_config.json names {own}, and model_index.json {kind}: taken is {kind}, as in diffusers",
            *notes,
        )
    return Schedule(settled, notes)


def with_markers(config: Config, markers: Collection[str]) -> Schedule:
    """What marks beside the UNet's weights, see `markers_in`, make of a scheduler that `resolve_scheduler` settled.

    They go before the configuration, for they come with the weights. There are no notes where they say nothing new.
    """
    settled, notes = dict(config), []
    for marker, key, value in (
        ("v_pred", "prediction_type", "v_prediction"),
        ("ztsnr", "rescale_betas_zero_snr", True),
    ):
        if marker in markers and settled.get(key) != value:
            said = f", and not {shown(config[key])} as in the scheduler's configuration" if key in config else ""
            notes.append(f"{key} is {shown(value)}, by the mark {marker} beside the UNet's weights{said}")
            settled[key] = value
    return Schedule(settled, (*notes, *(_notes(settled) if notes else ())))


def _named(index: Config) -> Any:
    """The scheduler's class in ``model_index.json``."""
    entry = index.get("scheduler")
    return (entry[1] or None) if isinstance(entry, list) and len(entry) == 2 else None


def _refuse_kinds(source: str, config: Config, index: Config) -> None:
    """Refuse what the configuration, or the class that it or the index names, is of another kind of training."""
    own, named = config.get("_class_name") or None, _named(index)
    for each in (own, named):
        if each is not None or named is own is None:
            _refuse_others(source, each, config)


def _refuse_others(source: str, kind: Any, config: Config) -> None:
    name = f"the scheduler {shown(kind)}"
    advice = f"name a model that predicts noise (epsilon) or {_PREDICTIONS[1]}"
    known = kind is None or (isinstance(kind, str) and kind in _CLASSES)
    word = str(kind)
    if "Flow" in word or (not known and "RFScheduler" in word):
        flow = name
    else:
        flow = _saying(config, "prediction_type", config.get("prediction_type") == "flow_prediction")
        flow = flow or _saying(config, "use_flow_sigmas", bool(config.get("use_flow_sigmas")))
    if flow:
        raise SourceError(
            f"{source}: {flow} means flow matching: the network predicts a velocity on the straight way from noise to image, "
            f"for which the pipelines of Stable Diffusion 1, 2 and XL have no scheduler; {advice}"
        )
    if word.startswith(("EDM", "CosineDPM", "KarrasVe")):
        edm = name
    else:
        edm = _saying(config, "sigma_data", config.get("sigma_data") is not None)
    if edm:
        raise SourceError(
            f"{source}: {edm} means EDM: the network's input and output are scaled by the noise level (sigma_data), for which "
            f"the pipelines of Stable Diffusion 1, 2 and XL have no scheduler; {advice}"
        )
    if not known:
        raise SourceError(
            f"{source}: scheduler_config.json names {shown(kind)}, which is no scheduler of diffusers for a model of this "
            f"kind; {advice}, with one of {', '.join(sorted(_CLASSES))}"
        )


def _saying(config: Config, key: str, applies: bool) -> str:
    return f"{key}: {shown(config[key])} in scheduler_config.json" if applies else ""


def _check_words(source: str, config: Config) -> None:
    for key, known in (("prediction_type", _PREDICTIONS), ("timestep_spacing", _SPACINGS), ("beta_schedule", _BETAS)):
        if key in config and config[key] not in known:
            raise SourceError(
                f"{source}: scheduler_config.json has {key}: {shown(config[key])}, which can't be built; known are "
                f"{', '.join(known)}"
            )
    for key in ("rescale_betas_zero_snr", "use_flow_sigmas"):
        if not isinstance(config.get(key, False), bool | None):
            raise SourceError(
                f"{source}: scheduler_config.json has {key}: {shown(config[key])}, where true or false belongs"
            )


def _check_numbers(source: str, config: Config) -> None:
    if fault := find_fault(config):
        key, wanted = fault
        raise SourceError(f"{source}: scheduler_config.json has {key}: {shown(config[key])}, and it must be {wanted}")


def _notes(settled: Config) -> tuple[str, ...]:
    return (*_swift_notes(settled), *_rescaling_notes(settled))


def _swift_notes(config: Config) -> list[str]:
    """What the schedulers of the Swift package cannot do, and what the app has to bring."""
    lacking = []
    if config["prediction_type"] == "v_prediction":
        lacking.append("prediction_type is v_prediction, and they take the UNet's output for noise")
    if config.get("rescale_betas_zero_snr"):
        lacking.append("it has zero terminal SNR (rescale_betas_zero_snr)")
    if config.get("trained_betas") is not None:
        lacking.append("it has betas of its own (trained_betas)")
    else:
        scaled = config.get("_class_name") in _SCALED_LINEAR
        defaults = _SWIFT if scaled else {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}
        own = {key: config.get(key, defaults.get(key, number)) for key, number in _SWIFT.items()}
        odd = [f"{key} is {own[key]}" for key, number in _SWIFT.items() if own[key] != number]
        if odd:
            theirs = ", ".join(f"{key} {number}" for key, number in _SWIFT.items())
            lacking.append(f"{', '.join(odd)}, and they are made with {theirs}")
    kind, trailing = config.get("_class_name"), config.get("timestep_spacing") == "trailing"
    consistency = [lacking_consistency(kind)] if kind in CONSISTENCY else []
    if not lacking:
        return consistency or ([_TRAILING] if trailing else [])
    if trailing:
        lacking.append("timestep_spacing is trailing")
    return [
        "images come out wrong with the Swift package's schedulers, PNDM and DPM-Solver++, which can't do what the model's "
        f"scheduler asks for: {'; '.join(lacking)}. The app must bring a scheduler of its own, by manifest.json's `scheduler`",
        *consistency,
    ]


def _rescaling_notes(config: Config) -> list[str]:
    if not config.get("rescale_betas_zero_snr"):
        return []
    notes = []
    kind = config.get("_class_name")
    if kind is not None and kind not in _RESCALING:
        notes.append(
            f"{kind} of diffusers leaves rescale_betas_zero_snr unread: use DDIM, Euler, DPM-Solver++ or UniPC"
        )
    if config.get("timestep_spacing") != "trailing":
        notes.append(
            "the model has zero terminal SNR and no `timestep_spacing: trailing`: the steps may leave out the last time, for "
            "which it was trained"
        )
    return notes
