"""The hub as a source: revisions, redirects, resuming, verifying. A real server on loopback answers."""

import errno
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from sdbuild.sources import SourceError, SourceFile
from sdbuild.sources.client import HubClient
from sdbuild.sources.hub import HubSource
from tests.sources.hub_server import Fault, HubServer, Request, sha256
from tests.sources.make_models import sd1

NAME = "someone/small"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
FILES = sd1()
SIZE = len(FILES[WEIGHTS])
CONFIG = "unet/config.json"


def fetch(source: HubSource, output: Path, scratch: Path) -> tuple[bytes, list[int]]:
    """The UNet's weights as they arrive in the output, and what was told of the progress."""
    progress: list[int] = []
    source.fetch(source.files[WEIGHTS], output, scratch, progress.append)
    return (output / "diffusion_pytorch_model.safetensors").read_bytes(), progress


def ranges(requests: list[Request]) -> list[tuple[int, int]]:
    """First byte and the one after the last, of what each request got."""
    starts = [int(r.range.removeprefix("bytes=").rstrip("-")) if r.range else 0 for r in requests]
    return [(start, start + request.sent) for start, request in zip(starts, requests, strict=True)]


def test_a_branch_a_tag_and_a_commit_name_the_same_files(hub: HubServer, client: HubClient) -> None:
    old = hub.add(NAME, {CONFIG: b'{"old": 1}'}, refs=("main", "v1"))
    new = hub.add(NAME, {CONFIG: b'{"new": 1}'}, refs=("main", "feature/slash"))
    for revision, commit, content in (
        (None, new, b'{"new": 1}'),
        ("main", new, b'{"new": 1}'),
        ("feature/slash", new, b'{"new": 1}'),
        ("v1", old, b'{"old": 1}'),
        (old, old, b'{"old": 1}'),
    ):
        source = HubSource(NAME, revision, client)
        assert source.read(CONFIG) == content
        assert source.commit == commit
        assert hub.asked("hub")[-1] == f"/{NAME}/resolve/{commit}/{CONFIG}"


def test_a_renamed_model_is_followed(hub: HubServer, client: HubClient) -> None:
    commit = hub.add(NAME, FILES)
    for path, query in (("/api/models/{}/revision/main", "?blobs=true"), (f"/{{}}/resolve/{commit}/{CONFIG}", "")):
        moved = {"Location": path.format(NAME) + query}
        hub.faults[path.format("someone/old")] = Fault(status=307, headers=moved)
    assert HubSource("someone/old", None, client).read(CONFIG) == FILES[CONFIG]


def test_a_file_arrives_through_the_redirect(hub: HubServer, client: HubClient, output: Path, scratch: Path) -> None:
    hub.add(NAME, FILES)
    content, progress = fetch(HubSource(NAME, None, client), output, scratch)
    assert content == FILES[WEIGHTS]
    assert progress == sorted(progress)
    assert (progress[0], progress[-1]) == (0, SIZE)
    assert len(hub.requests(WEIGHTS)) == 1
    assert list(scratch.iterdir()) == []


def test_a_broken_connection_is_resumed_where_it_broke(
    hub: HubServer, client: HubClient, output: Path, scratch: Path
) -> None:
    hub.add(NAME, FILES)
    hub.faults[WEIGHTS] = Fault(times=3, cut_after=30_000)
    content, progress = fetch(HubSource(NAME, None, client), output, scratch)
    assert content == FILES[WEIGHTS]
    assert progress == sorted(progress)
    assert [r.range for r in hub.requests(WEIGHTS)] == [None, "bytes=30000-", "bytes=60000-", "bytes=90000-"]
    got = ranges(hub.requests(WEIGHTS))
    assert all(before[1] == after[0] for before, after in pairwise(got))  # no byte twice
    assert got[-1][1] == SIZE


def test_a_killed_process_is_resumed_by_another(hub: HubServer, output: Path, scratch: Path) -> None:
    commit = hub.add(NAME, FILES)
    file = SourceFile(WEIGHTS, SIZE, sha256=sha256(FILES[WEIGHTS]))
    code = (
        "import sys; from pathlib import Path; from sdbuild.sources import SourceFile, open_source\n"
        f"open_source({{'kind': 'hub', 'id': '{NAME}', 'revision': 'main'}}, '{commit}').fetch(\n"
        f"    {file!r}, Path(sys.argv[1]), Path(sys.argv[2]), lambda done: None)"
    )
    command = [sys.executable, "-c", code, str(output), str(scratch)]
    environment = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(output.parent / "hf"), "PATH": ""}

    hub.faults[WEIGHTS] = Fault(times=1, hang_after=50_000)
    child = subprocess.Popen(command, env=environment)
    partial = scratch / f"{file.sha256}.part"
    while not partial.exists() or partial.stat().st_size < 50_000:
        assert child.poll() is None, "the download ended before it could be killed"
        time.sleep(0.02)
    child.kill()
    child.wait()
    assert list(output.iterdir()) == []

    subprocess.run(command, env=environment, check=True)
    assert (output / file.name).read_bytes() == FILES[WEIGHTS]
    assert ranges(hub.requests(WEIGHTS)) == [(0, 50_000), (50_000, SIZE)]
    assert hub.asked("hub") == [f"/{NAME}/resolve/{commit}/{WEIGHTS}"] * 2  # a commit needs no listing


def test_a_server_without_ranges_sends_it_all_again(
    hub: HubServer, client: HubClient, output: Path, scratch: Path
) -> None:
    hub.add(NAME, FILES)
    source = HubSource(NAME, None, client)
    (scratch / f"{source.files[WEIGHTS].sha256}.part").write_bytes(FILES[WEIGHTS][:20_000])
    hub.faults[WEIGHTS] = Fault(no_ranges=True)
    assert fetch(source, output, scratch)[0] == FILES[WEIGHTS]
    assert [(r.range, r.status) for r in hub.requests(WEIGHTS)] == [("bytes=20000-", 200)]


def test_a_partial_file_that_is_wrong_is_begun_anew(
    hub: HubServer, client: HubClient, output: Path, scratch: Path
) -> None:
    hub.add(NAME, FILES)
    source = HubSource(NAME, None, client)
    (scratch / f"{source.files[WEIGHTS].sha256}.part").write_bytes(b"\0" * 20_000)
    assert fetch(source, output, scratch)[0] == FILES[WEIGHTS]
    assert [r.range for r in hub.requests(WEIGHTS)] == ["bytes=20000-", None]


def test_a_complete_partial_file_asks_for_nothing(
    hub: HubServer, client: HubClient, output: Path, scratch: Path
) -> None:
    hub.add(NAME, FILES)
    source = HubSource(NAME, None, client)
    (scratch / f"{source.files[WEIGHTS].sha256}.part").write_bytes(FILES[WEIGHTS])
    assert fetch(source, output, scratch)[0] == FILES[WEIGHTS]
    assert hub.requests(WEIGHTS) == []


@pytest.mark.parametrize(
    ("body", "kept", "message"),
    [
        (FILES[WEIGHTS][:-1] + b"?", 0, "with another checksum than the hub lists"),
        (FILES[WEIGHTS][:-1000], 0, f"with {SIZE - 1000} bytes instead of {SIZE}"),
        (FILES[WEIGHTS] + b"more", 0, f"with more than {SIZE} bytes"),
        (FILES[WEIGHTS][:-1000], SIZE - 1000, f"with fewer than {SIZE} bytes"),
    ],
    ids=["wrong-hash", "too-short", "too-long", "too-short-to-resume"],
)
def test_wrong_content_is_not_kept(
    hub: HubServer, client: HubClient, output: Path, scratch: Path, body: bytes, kept: int, message: str
) -> None:
    hub.add(NAME, FILES)
    hub.faults[WEIGHTS] = Fault(body=body)
    source = HubSource(NAME, None, client)
    if kept:
        (scratch / f"{source.files[WEIGHTS].sha256}.part").write_bytes(FILES[WEIGHTS][:kept])
    with pytest.raises(SourceError) as failure:
        fetch(source, output, scratch)
    assert f"{NAME}: {WEIGHTS} comes {message}; nothing of it was kept." in str(failure.value)
    assert [*output.iterdir(), *scratch.iterdir()] == []


def test_a_small_file_is_verified_too(hub: HubServer, client: HubClient) -> None:
    commit = hub.add(NAME, FILES)
    hub.faults[f"/{NAME}/resolve/{commit}/{CONFIG}"] = Fault(body=FILES[CONFIG].replace(b"4", b"9"))
    with pytest.raises(SourceError, match=r"unet/config\.json comes with another checksum"):
        HubSource(NAME, None, client).read(CONFIG)


def test_weights_that_git_itself_stores_are_verified(
    hub: HubServer, client: HubClient, output: Path, scratch: Path
) -> None:
    hub.add(NAME, FILES)
    source = HubSource(NAME, None, client)
    file = source.files[CONFIG]  # as small as weights would have to be
    assert (file.sha256, len(file.git_sha1 or "")) == (None, 40)
    source.fetch(file, output, scratch, lambda done: None)
    assert (output / "config.json").read_bytes() == FILES[CONFIG]


def test_trouble_that_passes_is_waited_for(hub: HubServer, client: HubClient, output: Path, scratch: Path) -> None:
    hub.add(NAME, FILES)
    hub.faults[f"/api/models/{NAME}/revision/main"] = Fault(times=2, status=503)
    hub.faults[WEIGHTS] = Fault(times=2, status=500)
    assert fetch(HubSource(NAME, None, client), output, scratch)[0] == FILES[WEIGHTS]
    assert [r.status for r in hub.requests(WEIGHTS)] == [500, 500, 200]


def test_a_server_says_how_long_to_wait(
    hub: HubServer, client: HubClient, monkeypatch: pytest.MonkeyPatch, output: Path, scratch: Path
) -> None:
    hub.add(NAME, FILES)
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    hub.faults[f"/api/models/{NAME}/revision/main"] = Fault(
        times=1, status=429, headers={"RateLimit": '"api";r=0;t=55'}
    )
    hub.faults[WEIGHTS] = Fault(times=1, status=503, headers={"Retry-After": "7"})
    fetch(HubSource(NAME, None, client), output, scratch)
    assert waited == [56.0, 7.0]


def test_too_small_a_disk_is_told_before_anything_is_fetched(
    hub: HubServer, client: HubClient, output: Path, scratch: Path
) -> None:
    commit = hub.add(NAME, FILES)
    source = HubSource(NAME, commit, client)
    with pytest.raises(SourceError, match=r"needs 1000000000\.0 GB more, and .* GB are free where the store lies"):
        source.fetch(SourceFile(WEIGHTS, 10**18, sha256="0" * 64), output, scratch, lambda done: None)
    assert hub.log == []


def test_a_disk_that_fills_up_is_the_systems_own_error(
    hub: HubServer, client: HubClient, output: Path, scratch: Path
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    hub.add(NAME, FILES)
    source = HubSource(NAME, None, client)
    (scratch / f"{source.files[WEIGHTS].sha256}.part").symlink_to("/dev/full")
    with pytest.raises(
        OSError, match="No space left"
    ) as failure:  # whoever runs the stage knows the store and its disk
        fetch(source, output, scratch)
    assert failure.value.errno == errno.ENOSPC
    assert len(hub.requests(WEIGHTS)) == 1  # not taken for a broken connection
