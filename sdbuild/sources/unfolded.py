"""A single file as the diffusers folder that it could have been saved as: what it lacks comes with sdbuild.

The texts of that folder are made here: configurations from the shapes of tensors, the family's scheduler, CLIP's tokenizer, a
model card of what the file's metadata tells. The weights stay where they are: `record` says where in the file each one lies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import yaml

from sdbuild.errors import SourceError
from sdbuild.families import Families, mismatch
from sdbuild.sources.base import Progress, Source, SourceFile, read_json
from sdbuild.sources.card import CARD
from sdbuild.sources.clip_vocabulary import merges_text, vocabulary_json
from sdbuild.sources.contents import are_safetensors
from sdbuild.sources.header import read_header_and_metadata
from sdbuild.sources.layouts.base import Component
from sdbuild.sources.leftovers import check_names, listed, unused
from sdbuild.sources.parameters import parameters_of
from sdbuild.sources.single import Contents, Tensors, read_contents
from sdbuild.sources.strangers import what_it_is
from sdbuild.standins import ENOUGH

_NEEDED = {"source": "unet"}
"""What a file must hold, by the key of the recipe's ``model:`` that names it; for others it is what the key says."""
_CALLED = {"unet": "UNet", "vae": "VAE", "text_encoder": "text encoder", "text_encoder_2": "second text encoder"}
_LIBRARY = {"text_encoder": "transformers", "text_encoder_2": "transformers"}
_RESCALING = "DDIMScheduler"  # which can end in noise alone, in place of one that can't
_CANT_RESCALE = ("PNDMScheduler",)


@dataclass(frozen=True, kw_only=True)
class Unfolding:
    """What a file leaves open, as recipe and family have it."""

    family: str
    vae_scale: float
    tokenizers: tuple[str, ...]
    """Folders."""
    pipeline_class: str
    """That ``model_index.json`` would name."""
    scheduler_folder: str
    scheduler: Mapping[str, Any]
    """The family's."""
    usual_prediction: str | None
    """Of the family's models that say nothing; None where that can't be known."""
    prediction_type: str | None = None
    """As the recipe says."""
    zero_terminal_snr: bool | None = None
    """As the recipe says."""
    ema: bool | None = None
    allow_pickle: bool = False
    read_pickle: Callable[[str, Source], Tensors] | None = field(default=None, compare=False)
    """What is in a file that is no safetensors; its name for messages comes first."""


class Unfolded:
    """Read as a `Source`; nothing can be fetched from it, for its weight files are none."""

    single = None

    def __init__(
        self,
        file: Source,
        purpose: str,
        unfolding: Unfolding,
        families: Families,
        warn: Callable[[str], None],
        configs: Source | None = None,
    ) -> None:
        """Of a source that is one file, named by the key ``purpose`` of the recipe's ``model:``. ``configs`` is a model whose
        configurations are taken instead of those made here.

        Raises:
            SourceError: the file doesn't hold what it is named for, or what is said of it contradicts itself.
        """
        assert file.single is not None
        self._file, self._path, self._configs = file, file.single, configs
        self._unfolding = unfolding
        self.title, self.commit, self.caveat = file.title, file.commit, file.caveat
        self.name = file.name if file.name.endswith(file.single) else f"{file.name}/{file.single}"
        self._contents = self._read()
        self._check(purpose, families, warn)
        self._purpose = purpose

    def record(self) -> dict[str, Any]:
        """The weight file, and for each component that it holds which of its tensors are that component's."""
        return {
            "commit": self.commit,
            "files": [self._file.files[self._path].record()],
            "names": {
                each.folder: {name: taken.record() for name, taken in sorted(each.names.items())}
                for each in self._contents.components.values()
            },
        }

    @cached_property
    def files(self) -> dict[str, SourceFile]:
        """The texts; each is made when it is read, so that its size is not known."""
        return {path: SourceFile(path, 0) for path in self._texts}

    def read(self, path: str) -> bytes:
        """One of the texts."""
        return self._texts[path]().encode()

    def read_start(self, path: str, count: int) -> bytes:
        """The beginning of one of the texts."""
        return self.read(path)[:count]

    def fetch(self, file: SourceFile, folder: Path, scratch: Path, progress: Progress) -> None:
        """Nothing: what is recorded is the file, of another source."""
        raise AssertionError("an unfolded file has no weight files")

    def lacks(self, folder: str) -> str:
        """What to do about a component that is missing."""
        what = _CALLED.get(folder)
        if what is None:
            return f"{self.name}: a single file has no {folder}: leave it out of `components:`"
        if self._purpose != "source" or folder == "unet":
            return f"{self.name}: there is no {what} in the file; name another file or folder"
        return (
            f"{self.name}: there is no {what} in the file; name one under `model.{folder}:`, a file or a model, "
            "of the hub or of this machine"
        )

    def _read(self) -> Contents:
        where, size = self.name, self._file.files[self._path].size
        read = partial(self._file.read_start, self._path)
        name = self._path.rpartition("/")[2]
        tensors: Tensors
        metadata: dict[str, str] = {}
        if are_safetensors(where, name, read(ENOUGH)):
            header, metadata = read_header_and_metadata(where, size, read)
            tensors = {key: (entry.dtype, entry.shape) for key, entry in header.items()}
        else:
            tensors = self._read_pickle(where)
        self._keys = list(tensors)
        return read_contents(where, tensors, metadata, bool(self._unfolding.ema))

    def _read_pickle(self, where: str) -> Tensors:
        if not self._unfolding.allow_pickle:
            raise SourceError(
                f"{where}: a pickle, and loading a pickle can run code that its author hid in it; name a file of safetensors "
                "or, if you trust this one, write `allow_pickle: true` under `model:` in the recipe"
            )
        assert self._unfolding.read_pickle is not None, "who allows pickles says how they are read"
        return self._unfolding.read_pickle(where, self._file)

    def _check(self, purpose: str, families: Families, warn: Callable[[str], None]) -> None:
        found, family = self._contents.components, self._unfolding.family
        if (wanted := _NEEDED.get(purpose, purpose)) not in found:
            other = what_it_is(self._keys, found if purpose == "source" else (), self._guided(families))
            raise SourceError(f"{self.name}: there is no {_CALLED[wanted]} in the file: {other}")
        if (unet := found.get("unet")) is not None and (wrong := mismatch(unet.config, family, families)):
            raise SourceError(f"{self.name}: {wrong[0]}, but the recipe says `pipeline: {family}`; {wrong[1]}")
        for folder, component in found.items():
            if folder in _CALLED and not (self._configs is not None and f"{folder}/config.json" in self._configs.files):
                _check_whole(self.name, _CALLED[folder], component)
        if purpose == "vae" and unet is None and self._configs is None:
            warn(
                f"{self.name}: a VAE alone, which does not say whose latent images it is for; it is taken for one of "
                f"{families[family].title} (scale {self._unfolding.vae_scale:g})"
            )
        if purpose == "source" and "controlnet" in found:
            warn(f"{self.name}: there is a ControlNet in the file as well, which is not built")
        if purpose == "source" and self._contents.has_average and self._unfolding.ema is None:
            warn(
                f"{self.name}: it has the weights of the UNet twice, as they were last and as training averaged them (EMA); "
                "taken are the last. Write `ema: true` under `model:` for the average, or `ema: false` to be asked no more"
            )

    def _guided(self, families: Families) -> str:
        """What a ControlNet was made for; empty where that can't be told."""
        config = getattr(self._contents.components.get("controlnet"), "config", {})
        return next((each.title for each in families.values() if config and each.tells(config)), "")

    @cached_property
    def _texts(self) -> dict[str, Callable[[], str]]:
        """What makes them, by path."""
        texts: dict[str, Callable[[], str]] = {
            f"{folder}/config.json": partial(self._config, folder) for folder in self._contents.components
        }
        if self._purpose == "source":
            texts |= self._tokenizers
            texts["model_index.json"] = lambda: json.dumps(self._index)
            texts[f"{self._unfolding.scheduler_folder}/scheduler_config.json"] = lambda: json.dumps(self._schedule)
        if CARD in self._file.files:
            texts[CARD] = partial(_text, self._file, CARD)
        elif self._contents.about:
            texts[CARD] = lambda: f"---\n{yaml.safe_dump(self._contents.about, allow_unicode=True)}---\n"
        return texts

    def _config(self, folder: str) -> str:
        path = f"{folder}/config.json"
        if self._configs is not None and path in self._configs.files:
            return _text(self._configs, path)
        scale = {"scaling_factor": self._unfolding.vae_scale} if folder == "vae" else {}
        return json.dumps({**self._contents.components[folder].config, **scale})

    @property
    def _tokenizers(self) -> dict[str, Callable[[], str]]:
        folders = self._unfolding.tokenizers
        if self._configs is not None:
            paths = [path for path in self._configs.files if path.partition("/")[0] in folders]
            return {path: partial(_text, self._configs, path) for path in paths}
        shipped = {"vocab.json": vocabulary_json, "merges.txt": merges_text}
        return {f"{folder}/{name}": text for folder in folders for name, text in shipped.items()}

    @property
    def _index(self) -> dict[str, Any]:
        if self._configs is not None:
            index = read_json(self._configs, "model_index.json")
        else:
            found = self._contents.components.values()
            classes = {each.folder: each.config.get("_class_name") or each.config["architectures"][0] for each in found}
            index = {
                "_class_name": self._unfolding.pipeline_class,
                **{folder: [_LIBRARY.get(folder, "diffusers"), name] for folder, name in classes.items()},
            }
        return {**index, "scheduler": ["diffusers", self._schedule["_class_name"]]}

    @cached_property
    def _schedule(self) -> dict[str, Any]:
        """The scheduler's configuration, with what the recipe, the file or the family says of the training."""
        unfolding, contents = self._unfolding, self._contents
        if self._configs is not None:
            schedule = read_json(self._configs, f"{unfolding.scheduler_folder}/scheduler_config.json")
            usual = schedule.get("prediction_type", "epsilon")
        else:
            schedule, usual = dict(unfolding.scheduler), unfolding.usual_prediction
        said, asked = contents.prediction_type, unfolding.prediction_type
        if said and asked and said != asked:
            raise SourceError(
                f"{self.name}: the UNet predicts {said}, by {contents.said_by}, and the recipe says "
                f"`prediction_type: {asked}`: remove that key"
            )
        schedule["prediction_type"] = asked or said or usual
        if schedule["prediction_type"] is None:
            raise SourceError(
                f"{self.name}: the file does not say what its UNet predicts, and models of this family differ in that; write "
                "`prediction_type: epsilon` (noise, as 2-1-base, for images of 512 pixels) or `prediction_type: v_prediction` "
                "(as 2-1, for 768) under `model:`. With the wrong one, images come out as noise"
            )
        if contents.zero_terminal_snr and unfolding.zero_terminal_snr is False:
            raise SourceError(
                f"{self.name}: the UNet was trained with zero terminal SNR, by the mark ztsnr in it, and the recipe says "
                "`zero_terminal_snr: false`; remove that key"
            )
        if contents.zero_terminal_snr or unfolding.zero_terminal_snr:
            schedule |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
            if schedule.get("_class_name") in _CANT_RESCALE:
                schedule["_class_name"] = _RESCALING
        return schedule


def _check_whole(where: str, called: str, component: Component) -> None:
    """Compare a component's names with those of a model of its sizes. A VAE may lack one of its halves.

    Raises:
        SourceError: some are missing, or there are others.
    """
    halves = {name.partition(".")[0] for name in component.names} & {"encoder", "decoder"}
    wanted = {
        name
        for name in parameters_of(component.config)
        if called != "VAE" or name.partition(".")[0] not in {"encoder", "decoder"} - halves
    }
    if missing := sorted(wanted - component.names.keys()):
        raise SourceError(
            f"{where}: its {called} lacks {len(missing)} of {len(wanted)} tensors: {listed(missing)} (by diffusers' names); "
            "the file is not whole: get it again, or save the model again"
        )
    left = unused(dict.fromkeys(component.names, 1), wanted, wanted)[0]
    check_names(where, left)
    if left:
        raise SourceError(
            f"{where}: its {called} has {len(left)} tensors more than one of its sizes takes: {listed(left)} (by diffusers' "
            "names); a build would leave out what they do: name a file of the plain model"
        )


def _text(source: Source, path: str) -> str:
    return source.read(path).decode("utf-8", errors="replace")
