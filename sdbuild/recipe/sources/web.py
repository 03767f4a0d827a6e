"""A single file at an address: ``https://…``, with the SHA-256 of its content."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import parse_qsl, urlsplit

from sdbuild.recipe.source import SINGLE_FILES, Source, Trouble

_MODEL_PAGE = re.compile(r"https?://[^/]+/[^/?#]+/[^/?#]+(/tree/.*)?/?")
_HUB_FILE = re.compile(r"https?://[^/]+/([^/?#]+/[^/?#]+)/(?:resolve|blob)/([^/?#]+)/([^?#]+)")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_SECRETS = re.compile(r"token|api_?key|signature|password|secret", re.IGNORECASE)


@dataclass(frozen=True)
class WebSource(Source):
    """Any address but that of a model's page on the hub."""

    kind: ClassVar[str] = "web"
    rank: ClassVar[int] = 2
    title: ClassVar[str] = "a file of the web"
    remote: ClassVar[bool] = True
    single: ClassVar[bool] = True
    hashed: ClassVar[bool] = True

    @classmethod
    def read(cls, text: str, revision: str | None, folder: Path) -> Self | None:
        """By how it begins."""
        if not text.lower().startswith(("https://", "http://")):
            return None
        file = text.lower().endswith(SINGLE_FILES)
        return None if _MODEL_PAGE.fullmatch(text) and not file else cls(id=text, revision=revision)

    @property
    def name(self) -> str:
        """Without what a question mark begins."""
        return self.id.partition("?")[0]

    @property
    def origin(self) -> str:
        """The address."""
        return self.name

    def problem(self, needs: str) -> Trouble | None:
        """It must be an address of https; that of a file of the hub has a shorter name."""
        if match := _HUB_FILE.fullmatch(self.id):
            return "a file of the hub is named by its id", (
                f"write {{source: {match[1]}/{match[3]}, revision: {match[2]}}}",
            )
        try:
            parts = urlsplit(self.id)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or port == 0 or not self.id.isascii() or not self.id.isprintable() or " " in self.id:
            return f"'{self.name}' is no address", ("write https://host/path/file.safetensors",)
        if parts.scheme.lower() != "https" and host not in _LOOPBACK:
            return f"'{self.name}' is not of https", ("write https://…",)
        if parts.username or any(_SECRETS.search(key) for key, _ in parse_qsl(parts.query)):
            return "the address has a secret in it, and recipes and what is built of them are shared", (
                "download the file, and name it as ./file.safetensors",
            )
        if self.sha256 is None:
            return f"'{self.name}' needs `sha256:`: what is at an address may change, and a build must be repeatable", (
                "most sites show it beside the file; else `sha256sum file.safetensors`, or `shasum -a 256` on a Mac",
            )
        return None


SOURCE = WebSource
