"""Options of an extraction that are not part of a request: storage and progress of the work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from calm.extract.forward.batch_size import Batching
from calm.options import check_values, copy_option, document_options, option


@document_options()
@dataclass(frozen=True)
class RunOptions:
    """Options of :func:`calm.extract_to_cache` that are not part of a request: storage and progress of the work.

    Parameters
    ----------
    {options}

    Raises
    ------
    TypeError
        If an option has the wrong type.
    ValueError
        If an option is too small or not one of the choices.

    See Also
    --------
    calm.extract.Request : Options that determine the head vectors.
    calm.extract_to_cache : Extract head vectors into a cache.

    Examples
    --------
    >>> RunOptions(strict=True).storage
    'float16'
    """

    panel: ClassVar[str] = "Run"

    storage: str = option("float16", help="Precision of the head vectors in the cache.", choices=("float16", "float32"))
    batch_size: int | None = copy_option(Batching, "batch_size")
    workers: int | None = copy_option(Batching, "workers")
    strict: bool = option(False, help="Stop at the first clip that fails. By default the other clips continue.")
    prune: bool = option(False, help="Remove clips that are no longer in the data from the cache.")

    def __post_init__(self) -> None:
        check_values(self)
