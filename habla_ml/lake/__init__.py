"""Immutable, content-addressed objects and atomic pointers, in a directory or on S3."""

from habla_ml.lake.directory import DirectoryStore
from habla_ml.lake.lake import Lake, Pointer, TreeFile, canonical_json, digest_of, sha256_of
from habla_ml.lake.store import Entry, Store, Versioned

__all__ = [
    "DirectoryStore",
    "Entry",
    "Lake",
    "Pointer",
    "Store",
    "TreeFile",
    "Versioned",
    "canonical_json",
    "digest_of",
    "sha256_of",
]
