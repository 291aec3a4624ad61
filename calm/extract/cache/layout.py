"""File format of a head cache: one self-describing HDF5 file that survives kills and is cheap to resume.

Every dataset is contiguous and allocated at its full size before the first forward pass. The file gets its name only
when that is done. From then on its HDF5 metadata never changes, so a process killed at any moment cannot damage it.

The ``status`` of a clip is written after its row has reached the disk. The row of a clip that is done is never written
again, except ``modified``, which has nothing to do with head vectors. If clips change or the list of clips changes, a
new file replaces the old one. Readers that have the old file open continue to read it. A failed row may be tried again.

=================  =======================  ==========================================================
dataset            shape, dtype             content
=================  =======================  ==========================================================
heads              (clip, layer, head,      head vectors
                   dim) float16 or float32
status             (clip,) uint8            0 pending, 1 done, 2 failed
reason             (clip,) text             why a clip failed
seconds            (clip,) float32          length in seconds before the clip is cut; NaN until known
decoded_seconds    (clip,) float32          length in seconds that could be decoded, up to shortly after the cut; NaN
                                            if unknown
peak               (clip,) float32          largest absolute sample; NaN until known
digest             (clip, 16) uint8         XXH3 of the files or samples that the model needed; zeros until known
size               (clip,) int64            total size of its files in bytes
modified           (clip,) int64            latest modification time of its files, in nanoseconds
name               (clip,) text             path relative to the root folder of the data
label, split,      (clip,) int32            codes: row indices of the table with that name
group, prompt
labels, splits,    (row,) text              tables of the distinct labels, splits, groups and prompt texts;
groups, prompts                             an empty text means none
=================  =======================  ==========================================================

Text is UTF-8 of a fixed width, padded with zeros. The file contains nothing else: no HDF5 groups, links, chunks or
filters, and no data in other files.

Attributes: ``format``, ``format_version``, ``model``, ``revision`` (commit of a checkpoint from the hub), one for each
field of :class:`Fingerprint`, ``request`` (JSON of :class:`Request`), and ``made_with`` (JSON of versions and
checkpoint).

Version 2 had no ``decoded_seconds``. It can still be read and resumed; it becomes version 3 when its list of clips
changes. Version 1 also had no ``digest``, ``size`` and ``modified``, and stored ``label``, ``split`` and ``group`` as
(clip,) text without tables. It can still be read, but not written.
"""

from __future__ import annotations

from dataclasses import dataclass

from calm.extract.prompt import MAX_TEXT_LENGTH

FORMAT = "calm head cache"
FORMAT_VERSION = 3

#: Older versions can only be read.
OLDEST_WRITABLE_VERSION = 2

PENDING, DONE, FAILED = 0, 1, 2

#: Width of ``reason`` in bytes.
REASON_BYTES = 300
#: Width of ``digest`` in bytes.
DIGEST_BYTES = 16

#: Stands for the type of fixed-width text.
TEXT = "text"

#: Columns of codes, and the tables of texts that they refer to.
TABLES = {"label": "labels", "split": "splits", "group": "groups", "prompt": "prompts"}

#: Maximum length of a text in bytes: all texts of a column or table are stored as wide as the longest.
LONGEST = {"name": 4096, "label": 1024, "split": 1024, "group": 1024, "prompt": 4 * (MAX_TEXT_LENGTH + 1)}


class DamagedFileError(ValueError):
    """Error for wrong content of a cache; the caller adds the path of the file."""


@dataclass(frozen=True)
class Column:
    """Expected type and shape of a dataset."""

    types: tuple[str, ...]  #: allowed types: numpy names or TEXT
    axes: tuple[str | int, ...] = ("clip",)  #: names or lengths of axes; axes of the same name have the same length


_BY_CLIP = {
    "heads": Column(("float16", "float32"), ("clip", "layer", "head", "dim")),
    "status": Column(("uint8",)),
    "reason": Column((TEXT,)),
    "seconds": Column(("float32",)),
    "peak": Column(("float32",)),
    "name": Column((TEXT,)),
}

_VERSION_2 = (
    _BY_CLIP
    | {"digest": Column(("uint8",), ("clip", DIGEST_BYTES)), "size": Column(("int64",)), "modified": Column(("int64",))}
    | {column: Column(("int32",)) for column in TABLES}
    | {table: Column((TEXT,), (table,)) for table in TABLES.values()}
)

#: Datasets of a file, by format version.
COLUMNS: dict[int, dict[str, Column]] = {
    1: _BY_CLIP
    | dict.fromkeys(("label", "split", "group"), Column((TEXT,)))
    | {"prompt": Column(("int32",)), "prompts": Column((TEXT,), ("prompts",))},
    2: _VERSION_2,
    3: _VERSION_2 | {"decoded_seconds": Column(("float32",))},
}
