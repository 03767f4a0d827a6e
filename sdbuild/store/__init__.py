"""The store: artifacts under keys that say what they were made of, and what is known about each."""

from sdbuild.store.artifacts import Absent, Artifact, Store
from sdbuild.store.errors import StoreError, explain
from sdbuild.store.garbage import Collection, collect, sweep
from sdbuild.store.location import open_store
from sdbuild.store.locks import Lock
from sdbuild.store.records import BuildRecord, Entry, Records
from sdbuild.store.stamp import Stamp
from sdbuild.store.work import Workplace

__all__ = [
    "Absent",
    "Artifact",
    "BuildRecord",
    "Collection",
    "Entry",
    "Lock",
    "Records",
    "Stamp",
    "Store",
    "StoreError",
    "Workplace",
    "collect",
    "explain",
    "open_store",
    "sweep",
]
