"""How an extraction into a cache goes about its work: what changes no head vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from calm.options import option


@dataclass(frozen=True)
class RunOptions:
    """How an extraction goes about its work."""

    panel: ClassVar[str] = "Run"

    storage: str = option(
        "float16", about="Precision of the cache: float16 or float32.", choices=("float16", "float32")
    )
    batch_size: int | None = option(None, about="Clips a forward pass; default: as many as fit.", least=1)
    workers: int | None = option(
        None,
        about="Threads that decode, and compute features, ahead of the model; default: by the number of cores.",
        least=1,
    )
    strict: bool = option(False, about="Stop at the first clip that fails.")
    prune: bool = option(False, about="Drop clips from the cache that are gone from the data.")
