"""One seed per use, derived from the study's seed and the name of the use."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *use: str | int) -> int:
    """A 63-bit seed that depends on every word of `use`.

    Examples
    --------
    >>> derive_seed(0, "m3ae", "train") == derive_seed(0, "m3ae", "sample")
    False
    """
    text = "\0".join(str(word) for word in (seed, *use))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
