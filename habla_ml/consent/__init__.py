"""The register of consents, the admission of segments under it, and the tombstones of erased segments."""
