"""For `doit`: `doit list` prints what there is; `sdbuild` offers the same from any folder."""

from sdbuild.engine.dodo import DOIT_CONFIG, task_sdbuild  # noqa: F401
