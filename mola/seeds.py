"""One run seed gives every random part its own seed, by hash: none of them shifts when another draws more numbers."""

from __future__ import annotations

import hashlib


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the named part, e.g. ``derive(0, "initialisation")``."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
