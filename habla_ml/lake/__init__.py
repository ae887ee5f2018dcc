"""Immutable, content-addressed objects and atomic pointers, in a directory or on S3."""

from habla_ml.lake.directory import DirectoryStore
from habla_ml.lake.factory import open_lake, open_store
from habla_ml.lake.lake import Lake, compute_digest, compute_sha256, to_canonical_json
from habla_ml.lake.pointers import Pointer, PointerReader, PointerSnapshot
from habla_ml.lake.s3 import S3Store, probe_conditional_writes
from habla_ml.lake.store import Store, StoreEntry

__all__ = [
    "DirectoryStore",
    "Lake",
    "Pointer",
    "PointerReader",
    "PointerSnapshot",
    "S3Store",
    "Store",
    "StoreEntry",
    "compute_digest",
    "compute_sha256",
    "open_lake",
    "open_store",
    "probe_conditional_writes",
    "to_canonical_json",
]
