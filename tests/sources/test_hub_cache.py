"""The cache of the hub's own tools, filled by them: read, verified, never written."""

import os
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants, snapshot_download

from sdbuild.sources import SourceError, SourceFile
from sdbuild.sources.client import HubClient
from sdbuild.sources.hub import HubSource
from sdbuild.sources.hub_cache import clone
from tests.sources.hub_server import HubServer
from tests.sources.make_models import sd1

NAME = "someone/small"
FILES = sd1()
CONFIG = "unet/config.json"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def cache(hub: HubServer) -> Path:
    """The cache after the hub's own downloader was there; the hub has forgotten its requests."""
    hub.add(NAME, FILES)
    snapshot_download(NAME, endpoint=hub.endpoint, cache_dir=constants.HF_HUB_CACHE, token=False)
    hub.log.clear()
    return Path(constants.HF_HUB_CACHE) / "models--someone--small"


@pytest.fixture
def offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.is_dir()  # filled first: offline it could not be
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def state(folder: Path) -> dict[str, tuple[object, ...]]:
    """All that could be changed of a folder, but for times of reading."""
    paths = (Path(top, name) for top, folders, files in os.walk(folder) for name in (*folders, *files))
    stats = {str(path): path.lstat() for path in paths}
    return {path: (at.st_ino, at.st_mode, at.st_nlink, at.st_size, at.st_mtime_ns) for path, at in stats.items()}


def fetch(source: HubSource, output: Path, scratch: Path, path: str = WEIGHTS) -> bytes:
    file = source.files[path]
    done: list[int] = []
    source.fetch(file, output, scratch, done.append)
    assert done[-1] == file.size and list(scratch.iterdir()) == []
    return (output / file.name).read_bytes()


def test_what_it_has_is_not_fetched_again(
    hub: HubServer, client: HubClient, cache: Path, output: Path, scratch: Path
) -> None:
    source = HubSource(NAME, None, client)
    assert source.read(CONFIG) == FILES[CONFIG]
    assert fetch(source, output, scratch) == FILES[WEIGHTS]
    assert hub.asked("hub") == [f"/api/models/{NAME}/revision/main"]
    assert hub.asked("cdn") == []


def test_what_it_lacks_is_fetched(hub: HubServer, client: HubClient, cache: Path, output: Path, scratch: Path) -> None:
    new = FILES | {CONFIG: b'{"new": 1}', WEIGHTS: FILES[WEIGHTS] + b"new"}
    commit = hub.add(NAME, new)
    source = HubSource(NAME, None, client)
    assert source.commit == commit
    assert source.read(CONFIG) == new[CONFIG]
    assert source.read("vae/config.json") == FILES["vae/config.json"]
    assert fetch(source, output, scratch) == new[WEIGHTS]
    assert hub.asked("hub")[1:] == [f"/{NAME}/resolve/{commit}/{path}" for path in (CONFIG, WEIGHTS)]


def test_damaged_files_of_it_are_fetched(
    hub: HubServer, client: HubClient, cache: Path, output: Path, scratch: Path
) -> None:
    for path in (CONFIG, WEIGHTS):
        blob = (cache / "snapshots" / hub.repositories[NAME].refs["main"] / path).resolve()
        blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    source = HubSource(NAME, None, client)
    assert source.read(CONFIG) == FILES[CONFIG]
    assert fetch(source, output, scratch) == FILES[WEIGHTS]


@pytest.mark.usefixtures("offline")
def test_offline_it_is_all_there_is(
    hub: HubServer, client: HubClient, cache: Path, output: Path, scratch: Path
) -> None:
    online = {path: (len(body), body) for path, body in FILES.items()}
    for revision in (None, "main", hub.repositories[NAME].refs["main"]):
        source = HubSource(NAME, revision, client)
        assert source.commit == hub.repositories[NAME].refs["main"]
        assert {path: (file.size, source.read(path)) for path, file in source.files.items()} == online
        assert source.files[WEIGHTS].sha256 and source.files[CONFIG].git_sha1
        assert fetch(source, output, scratch) == FILES[WEIGHTS]
    assert hub.log == []


def test_it_is_never_written(
    client: HubClient, cache: Path, output: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(cache)
    for is_offline in (False, True):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", is_offline)
        source = HubSource(NAME, None, client)
        source.read(CONFIG)
        fetch(source, output, scratch)
        (output / "diffusion_pytorch_model.safetensors").chmod(0o400)  # ours alone, as it is no hard link
        (output / "diffusion_pytorch_model.safetensors").unlink()
    assert state(cache) == before


def test_online_and_offline_the_files_are_known_by_the_same_digests(
    client: HubClient, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = HubSource(NAME, None, client).files
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert HubSource(NAME, None, client).files == online


@pytest.mark.usefixtures("offline")
def test_offline_damage_is_noticed(hub: HubServer, client: HubClient, cache: Path, output: Path, scratch: Path) -> None:
    blob = (cache / "snapshots" / hub.repositories[NAME].refs["main"] / WEIGHTS).resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"?")
    with pytest.raises(SourceError) as failure:
        fetch(HubSource(NAME, None, client), output, scratch)
    assert (
        f"HF_HUB_OFFLINE forbids asking 127.0.0.1:{client.host.rpartition(':')[2]} for {WEIGHTS}; unset it, or"
        in str(failure.value)
    )
    assert str(failure.value).endswith(f"; {cache} has no whole copy of it")
    assert list(output.iterdir()) == []


@pytest.mark.usefixtures("offline")
def test_offline_an_incomplete_snapshot_says_what_it_lacks(hub: HubServer, client: HubClient, cache: Path) -> None:
    snapshot = cache / "snapshots" / hub.repositories[NAME].refs["main"]
    (snapshot / CONFIG).unlink()
    (snapshot / WEIGHTS).resolve().unlink()  # the link dangles
    source = HubSource(NAME, None, client)
    assert WEIGHTS not in source.files
    with pytest.raises(SourceError, match=rf"there is no {CONFIG} at revision 'main'"):
        source.read(CONFIG)
    assert source.caveat == (
        f" (HF_HUB_OFFLINE is set, so that only what {cache} has is seen: if that is not the whole model, unset it, or run "
        f"`hf download {NAME} --revision main` once)"
    )


@pytest.mark.usefixtures("offline")
def test_a_copy_of_it_without_links(
    hub: HubServer,
    client: HubClient,
    cache: Path,
    output: Path,
    scratch: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "copy"))
    shutil.copytree(cache / "snapshots", tmp_path / "copy" / cache.name / "snapshots")
    shutil.copytree(cache / "refs", tmp_path / "copy" / cache.name / "refs")
    source = HubSource(NAME, None, client)
    assert source.files[WEIGHTS] == SourceFile(WEIGHTS, len(FILES[WEIGHTS]))
    assert source.read(CONFIG) == FILES[CONFIG]
    assert fetch(source, output, scratch) == FILES[WEIGHTS]


@pytest.mark.parametrize("ref", ["", "main", "../../x", "a" * 39, "a" * 40])
@pytest.mark.usefixtures("offline")
def test_offline_a_damaged_reference(client: HubClient, cache: Path, ref: str) -> None:
    (cache / "refs" / "main").write_text(ref)
    with pytest.raises(SourceError, match=r"and revision 'main' is not in .*models--someone--small; unset it"):
        HubSource(NAME, None, client).files  # noqa: B018


def test_who_cannot_reach_the_hub_is_told_of_it(client: HubClient, cache: Path) -> None:
    nobody = HubClient("http://127.0.0.1:1", waits=())
    with pytest.raises(SourceError, match=rf"; or set HF_HUB_OFFLINE=1 to build from what {cache} has$"):
        HubSource(NAME, None, nobody).files  # noqa: B018


def test_cloned_or_not_the_disk_decides(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"content")
    if clone(tmp_path / "old", tmp_path / "new"):
        assert (tmp_path / "new").read_bytes() == b"content"
    assert (tmp_path / "old").stat().st_nlink == 1
