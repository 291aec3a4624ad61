"""Export clips of a head cache to pandas, NumPy, Hugging Face datasets, and files of these formats."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from calm.atomic_file import check_writable_folder, create_atomic_file
from calm.extract.cache.file import is_empty_file
from calm.extract.cache.layout import DONE

if TYPE_CHECKING:
    from calm.extract.cache.rows import HeadRows

#: Bytes of head vectors read at a time.
_BLOCK_BYTES = 2**25

#: Name of each status.
_STATUS_NAMES = np.array(["pending", "done", "failed"], dtype=object)

#: Suffixes of files that an export can write.
SUFFIXES = (".parquet", ".csv", ".npz")


class Arrays(NamedTuple):
    """Head vectors, labels and groups of clips, in the form that scikit-learn takes."""

    X: NDArray[np.float32]  #: head vectors, of shape (n_clips, n_layers, n_heads, head_dim)
    y: NDArray[Any]  #: labels, as str of shape (n_clips,); empty for a clip without a label
    groups: NDArray[Any]  #: groups, as str of shape (n_clips,); empty for a clip without a group


def make_arrays(rows: HeadRows) -> Arrays:
    """Read head vectors, labels and groups; raises a ValueError if a clip has no head vectors."""
    return Arrays(np.asarray(rows), rows.labels.astype(str), rows.groups.astype(str))


def make_frame(rows: HeadRows, vectors: bool = False) -> Any:
    """Make a pandas DataFrame with one row per clip; see :meth:`calm.extract.HeadRows.to_frame`."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("a data frame needs pandas: pip install 'calm-audio[pandas]'") from error
    frame = pd.DataFrame(_make_metadata(rows))
    if not vectors:
        return frame
    _, layers, heads, dim = rows.shape
    values = np.full((len(rows), layers * heads, dim), np.nan, dtype=np.float32)
    has_vectors = rows.cache.status[rows.rows] == DONE
    values[has_vectors] = rows[has_vectors].read()
    names = [f"l{layer}_h{head}_d{d}" for layer in range(layers) for head in range(heads) for d in range(dim)]
    return pd.concat([frame, pd.DataFrame(values.reshape(len(rows), len(names)), columns=names)], axis=1)


def make_dataset(rows: HeadRows) -> Any:
    """Make a Hugging Face dataset with one row per clip; see :meth:`calm.extract.HeadRows.to_dataset`."""
    try:
        import datasets
    except ImportError as error:
        raise ImportError("a Hugging Face dataset needs datasets: pip install 'calm-audio[datasets]'") from error
    features = {name: datasets.Value(_arrow_type(name)) for name in _make_metadata(rows[:0])}
    features["heads"] = datasets.Array3D(shape=rows.shape[1:], dtype="float32")
    if len(rows) == 0:  # a generator must yield an example
        return datasets.Dataset.from_dict({name: [] for name in features}, features=datasets.Features(features))
    return datasets.Dataset.from_generator(
        _yield_examples,
        features=datasets.Features(features),
        gen_kwargs={"rows": rows, "identity": _compute_identity(rows)},
    )


def export_file(rows: HeadRows, path: Path) -> None:
    """Write clips to a Parquet, CSV or NumPy file; the suffix of the path chooses the format.

    Parquet has the metadata of all clips and the head vectors of those that have some, as a list of numbers per clip.
    CSV has the metadata. An npz file has ``X``, ``y``, ``groups``, ``splits`` and ``names`` of the clips with head
    vectors.

    Raises
    ------
    FileExistsError
        If the file exists and is not empty.
    ValueError
        If the suffix is unknown.
    ImportError
        If a package for the format is not installed.
    OSError
        If the file cannot be written.
    """
    writers = {".parquet": _write_parquet, ".csv": _write_csv, ".npz": _write_npz}
    if path.suffix.lower() not in writers:
        raise ValueError(f"{path} has no known suffix: use {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if path.exists() and not is_empty_file(path):
        raise FileExistsError(f"{path} exists: remove it, or name another file")
    check_writable_folder(path)
    with create_atomic_file(path) as part:
        writers[path.suffix.lower()](rows, part.file)
        part.replace(path)


def _write_csv(rows: HeadRows, file: Any) -> None:
    make_frame(rows).to_csv(file, index=False)


def _write_npz(rows: HeadRows, file: Any) -> None:
    done = rows[rows.cache.status[rows.rows] == DONE]
    arrays = make_arrays(done)
    np.savez(file, **arrays._asdict(), splits=done.splits.astype(str), names=done.names.astype(str))


def _write_parquet(rows: HeadRows, file: Any) -> None:
    """Write metadata and head vectors block by block, so that memory does not grow with the number of clips."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError("Parquet needs pyarrow: pip install 'calm-audio[pandas]'") from error
    size = math.prod(rows.shape[1:])
    fields = [(name, pa.type_for_alias(_arrow_type(name))) for name in _make_metadata(rows[:0])]
    # The list has no fixed size: not all readers of Parquet accept missing lists of a fixed size.
    schema = pa.schema([*fields, ("heads", pa.list_(pa.float32()))])
    schema = schema.with_metadata({"heads_shape": " ".join(map(str, rows.shape[1:]))})
    with pq.ParquetWriter(file, schema) as writer:
        for block in _split_into_blocks(rows):
            has_vectors = block.cache.status[block.rows] == DONE
            values = pa.array(block[has_vectors].read().ravel())
            offsets = np.concatenate([[0], np.cumsum(has_vectors) * size]).astype(np.int32)
            heads = pa.ListArray.from_arrays(offsets, values, mask=pa.array(~has_vectors))
            columns = [pa.array(column, from_pandas=True) for column in _make_metadata(block).values()]
            writer.write_table(pa.table([*columns, heads], schema=schema))


def _make_metadata(rows: HeadRows) -> dict[str, NDArray[Any]]:
    """Return the metadata of clips by column; missing texts are None."""
    cache, indices = rows.cache, rows.rows
    prompts = cache.categorical("prompt")
    return {
        "name": rows.names,
        "label": _none_for_empty(rows.labels),
        "split": _none_for_empty(rows.splits),
        "group": _none_for_empty(rows.groups),
        "prompt": prompts.texts[prompts.codes[indices]],
        "status": _STATUS_NAMES[cache.status[indices]],
        "reason": _none_for_empty(rows.reasons),
        "seconds": cache.seconds[indices],
        "decoded_seconds": cache.decoded_seconds[indices],
        "peak": cache.peak[indices],
        "digest": np.array(rows.digests, dtype=object),
    }


def _none_for_empty(texts: NDArray[Any]) -> NDArray[Any]:
    return np.array([text or None for text in texts], dtype=object)


def _arrow_type(column: str) -> str:
    return "float32" if column in ("seconds", "decoded_seconds", "peak") else "string"


def _yield_examples(rows: HeadRows, identity: str) -> Iterator[dict[str, Any]]:
    """Yield metadata and head vectors of each clip; the vectors are None for a clip without them.

    Datasets keeps what it made from the same arguments, so ``identity`` must change with the content of the cache.
    """
    for block in _split_into_blocks(rows):
        metadata = {name: column.tolist() for name, column in _make_metadata(block).items()}
        has_vectors = block.cache.status[block.rows] == DONE
        vectors = iter(np.asarray(block[has_vectors]))
        for i in range(len(block)):
            yield {name: column[i] for name, column in metadata.items()} | {
                "heads": next(vectors) if has_vectors[i] else None
            }


def _split_into_blocks(rows: HeadRows) -> Iterator[HeadRows]:
    """Yield consecutive clips whose head vectors take little memory."""
    length = max(1, _BLOCK_BYTES // (4 * math.prod(rows.shape[1:])))
    for start in range(0, len(rows), length):
        yield rows[start : start + length]


def _compute_identity(rows: HeadRows) -> str:
    """Compute a digest of all that an export contains: equal digests mean equal clips, metadata and head vectors."""
    digest = xxhash.xxh3_64(f"{rows.cache.identity} {rows.cache.storage}".encode())
    digest.update(rows.rows.tobytes())
    for column in _make_metadata(rows).values():
        digest.update(repr(column.tolist()).encode())
    return digest.hexdigest()
