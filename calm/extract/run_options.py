"""How an extraction into a cache goes about its work: what changes no head vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from calm.extract.forward.batch_size import Batching
from calm.options import check_values, copy_option, option


@dataclass(frozen=True)
class RunOptions:
    """How an extraction goes about its work."""

    panel: ClassVar[str] = "Run"

    storage: str = option("float16", help="Precision of the cache.", choices=("float16", "float32"))
    batch_size: int | None = copy_option(Batching, "batch_size")
    workers: int | None = copy_option(Batching, "workers")
    strict: bool = option(False, help="Stop at the first clip that fails.")
    prune: bool = option(False, help="Drop clips from the cache that are gone from the data.")

    def __post_init__(self) -> None:
        check_values(self)
