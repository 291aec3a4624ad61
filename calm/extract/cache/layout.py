"""The format of a head cache: one HDF5 file, self-describing, safe to kill, cheap to resume.

Every dataset is allocated at its full size, contiguous, before the first forward pass, and the file is moved into
place only when that is done; from then on the file's metadata never changes, so a process killed at any moment cannot
damage it. A clip's ``status`` is written after its row has reached the disk. A row that is done is never written again
(but for ``modified``, which no reader of head vectors looks at): where clips have changed, or are others, a new file
takes the old one's place, and whoever has the old one open goes on reading that. A failed row may be tried again.

=================  =======================  ==========================================================
dataset            shape, type              what
=================  =======================  ==========================================================
heads              (clip, layer, head,      head vectors
                   dim) float16 or float32
status             (clip,) uint8            0 pending, 1 done, 2 failed
reason             (clip,) text             why a clip failed
seconds            (clip,) float32          length of the recording; NaN until known
peak               (clip,) float32          largest absolute sample; NaN until known
digest             (clip, 16) uint8         XXH3 of the files or samples that the model was given of the clip;
                                            zeros until known
size               (clip,) int64            bytes of its files
modified           (clip,) int64            time of their last change, in nanoseconds
name               (clip,) text             path below the data's root
label, split,      (clip,) int32            rows of the table of that name
group, prompt
labels, splits,    (row,) text              the distinct labels (empty where a clip has none), splits and
groups, prompts                             groups, and the distinct texts that clips were asked
=================  =======================  ==========================================================

Text is UTF-8 of a fixed width, filled up with zeros. There is nothing else in the file: no groups, links, chunks,
filters, or data in other files.

Attributes: ``format``, ``format_version``, ``model``, ``revision`` (a hub checkpoint's commit), one for each field of
:class:`Fingerprint`, ``request`` (JSON of :class:`Request`), and ``made_with`` (versions and checkpoint, as JSON).

Version 1 had no ``digest``, ``size`` and ``modified``, and ``label``, ``split`` and ``group`` were (clip,) text,
without tables. It is read, and not written any more.
"""

from __future__ import annotations

from dataclasses import dataclass

from calm.extract.prompt import MAX_TEXT_LENGTH

FORMAT = "calm head cache"
FORMAT_VERSION = 2

PENDING, DONE, FAILED = 0, 1, 2

#: Width of ``reason``.
REASON_BYTES = 300
#: Width of ``digest``.
DIGEST_BYTES = 16

#: The type of a column of text of a fixed width.
TEXT = "text"

#: Columns of few distinct texts, and their tables.
TABLES = {"label": "labels", "split": "splits", "group": "groups", "prompt": "prompts"}

#: How many bytes a text may take: each is stored as wide as the longest of its column or table.
LONGEST = {"name": 4096, "label": 1024, "split": 1024, "group": 1024, "prompt": 4 * (MAX_TEXT_LENGTH + 1)}


class DamagedFileError(ValueError):
    """What is wrong inside a cache, to be told with the file's path."""


@dataclass(frozen=True)
class Column:
    """A dataset of the file."""

    types: tuple[str, ...]  #: numpy's names of those that it may have, or TEXT
    axes: tuple[str | int, ...] = ("clip",)  #: axes of one name have one length


_BY_CLIP = {
    "heads": Column(("float16", "float32"), ("clip", "layer", "head", "dim")),
    "status": Column(("uint8",)),
    "reason": Column((TEXT,)),
    "seconds": Column(("float32",)),
    "peak": Column(("float32",)),
    "name": Column((TEXT,)),
}

#: Datasets of a file, by version of the format.
COLUMNS: dict[int, dict[str, Column]] = {
    1: _BY_CLIP
    | dict.fromkeys(("label", "split", "group"), Column((TEXT,)))
    | {"prompt": Column(("int32",)), "prompts": Column((TEXT,), ("prompts",))},
    2: _BY_CLIP
    | {"digest": Column(("uint8",), ("clip", DIGEST_BYTES)), "size": Column(("int64",)), "modified": Column(("int64",))}
    | {column: Column(("int32",)) for column in TABLES}
    | {table: Column((TEXT,), (table,)) for table in TABLES.values()},
}
