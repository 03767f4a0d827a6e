"""The server of these tests against the hub's own client: what it speaks is the protocol."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.sources.hub_server import HubServer, git_sha1, sha256
from tests.sources.make_models import sd1

NAME = "someone/small"


def test_the_hubs_own_client_downloads_a_model(hub: HubServer, tmp_path: Path) -> None:
    files = sd1()
    commit = hub.add(NAME, files, refs=("main", "v1"))
    folder = Path(snapshot_download(NAME, revision="v1", endpoint=hub.endpoint, cache_dir=tmp_path, token=False))
    assert folder.name == commit
    assert {path: (folder / path).read_bytes() for path in files} == files
    assert len(hub.requests("unet/diffusion_pytorch_model.safetensors")) == 1


def test_the_hubs_own_client_reads_the_listing(hub: HubServer) -> None:
    files = sd1()
    commit = hub.add(NAME, files)
    info = HfApi(hub.endpoint, token=False).model_info(NAME, revision="main", files_metadata=True)
    assert info.sha == commit
    listed = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    large, small = "vae/diffusion_pytorch_model.safetensors", "vae/config.json"
    assert listed[large].lfs["sha256"] == sha256(files[large])
    assert (listed[small].size, listed[small].blob_id) == (len(files[small]), git_sha1(files[small]))


@pytest.mark.parametrize(
    ("name", "revision", "path", "expected"),
    [
        ("someone/nothing", "main", "model_index.json", RepositoryNotFoundError),
        (NAME, "v9", "model_index.json", RevisionNotFoundError),
        (NAME, "main", "nothing.json", RemoteEntryNotFoundError),
        ("someone/gated", "main", "model_index.json", GatedRepoError),
    ],
)
def test_the_hubs_own_client_understands_refusals(
    hub: HubServer, tmp_path: Path, name: str, revision: str, path: str, expected: type[Exception]
) -> None:
    hub.add(NAME, sd1())
    hub.add("someone/gated", sd1(), gated=True)
    with pytest.raises(expected):
        hf_hub_download(name, path, revision=revision, endpoint=hub.endpoint, cache_dir=tmp_path, token=False)
