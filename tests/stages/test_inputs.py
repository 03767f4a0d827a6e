"""What a stage reads: a file of the user's is hashed when it is taken in, and later only if it may have changed since."""

from pathlib import Path

import pytest

from sdbuild.stages.inputs import DamagedInputError, Inputs
from sdbuild.store import Stamp, Store, Workplace
from tests.store.mutations import flip

KEY = "k" * 64


@pytest.mark.parametrize("since", ["taken in", "touched"])
def test_a_users_file_is_hashed_if_it_may_have_changed(since: str, tmp_path: Path) -> None:
    mine, store = tmp_path / "mine", Store(tmp_path / "store")
    mine.write_bytes(bytes(100))
    work = Workplace(store.root, KEY)
    work.prepare()
    (work.output / "mine").symlink_to(mine)
    made = store.commit(work, Stamp.of(work.output, {}, stage="download", key=KEY, ingredients={}))
    flip(mine)  # that its content is another now tells whether it is read
    state = mine.stat()
    planned = [state.st_size, state.st_mtime_ns, state.st_ctime_ns - (since == "touched")]
    inputs = Inputs(
        store,
        {
            "inputs": [{"path": str(made.path), "stage": "download", "key": KEY}],
            "outside": {},
            "taken_in": {str(mine): planned},
            "links": False,
        },
    )
    if since == "taken in":
        inputs.check()
    else:
        with pytest.raises(DamagedInputError, match="mine was changed"):
            inputs.check()
