"""One file of weights in a repository of the model hub."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from sdbuild.errors import SourceError
from sdbuild.sources.base import SourceFile, shown
from sdbuild.sources.card import CARD
from sdbuild.sources.client import HubClient
from sdbuild.sources.hub import HubSource
from sdbuild.sources.hub_cache import HubCache


class HubFileSource(HubSource):
    """Of the repository it has the file and the model card."""

    def __init__(
        self, name: str, revision: str | None, client: HubClient | None = None, cache: HubCache | None = None
    ) -> None:
        """Nothing is asked yet. ``name`` is the repository's with the file's path behind it."""
        organisation, repository, path = name.split("/", 2)
        super().__init__(f"{organisation}/{repository}", revision, client, cache)
        self.title, self.single = name, path

    @cached_property
    def files(self) -> dict[str, SourceFile]:
        """The file, and the model card if there is one."""
        there, path = super().files, str(self.single)
        if path not in there:
            near = get_close_matches(path, there, 1) or [name for name in there if name.endswith(".safetensors")][:1]
            hint = f"; there is {shown(near[0])}" if near else ""
            raise SourceError(f"{self.name}: there is no {path} at revision '{self._revision}'{hint}")
        return {name: there[name] for name in (path, CARD) if name in there}


def open_source(facts: Mapping[str, Any], commit: str | None) -> HubFileSource:
    """The file ``id`` at ``commit`` or else at ``revision``, null for the default branch."""
    return HubFileSource(facts["id"], commit or facts["revision"])
