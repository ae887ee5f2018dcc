"""Immutable, content-addressed objects and atomic pointers, in a directory or on S3."""

from habla_ml.lake.directory import DirectoryStore
from habla_ml.lake.lake import Lake, Pointer, TreeFile, canonical_json, digest_of, sha256_of
from habla_ml.lake.open import open_lake, open_store
from habla_ml.lake.s3 import S3Store, probe_conditional_writes
from habla_ml.lake.store import Entry, Store, Versioned

__all__ = [
    "DirectoryStore",
    "Entry",
    "Lake",
    "Pointer",
    "S3Store",
    "Store",
    "TreeFile",
    "Versioned",
    "canonical_json",
    "digest_of",
    "open_lake",
    "open_store",
    "probe_conditional_writes",
    "sha256_of",
]
