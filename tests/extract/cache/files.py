"""Helpers: caches of all format versions, results to write, and code run in another process."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from calm.extract import CacheWriter, Clip, Fingerprint, Request, create_cache
from calm.extract.media.content import UNKNOWN, Content, compute_content
from calm.extract.result import ClipResult

REQUEST = Request(model="tiny")
FINGERPRINT = Fingerprint("abc", "def", "float32", "Hm?", 1, 16000, 5.0)
SHAPE = (2, 3, 4)
LABELS = ["dog", "räin", "dog", "räin", "dog", "räin", "dog", ""]
CLIPS = [Clip(f"{i}.wav", f"{label}/{i}.wav", label, "train", f"g{i % 4}") for i, label in enumerate(LABELS)]


THREE_CLIPS = [
    Clip("a.wav", "a.wav", "dog", "train", "1"),
    Clip("b.wav", "räin/b.wav", "räin", "test", "2"),
    Clip("c.wav", "c.wav"),
]


def vectors_of_rows(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Make head vectors of whole numbers, which float16 stores exactly, different in every row."""
    return (10 * np.asarray(rows)[:, None, None, None] + np.arange(24).reshape(SHAPE)).astype(np.float32)


def vectors_of(n: int) -> NDArray[np.float32]:
    """Make the head vectors of the first ``n`` rows."""
    return vectors_of_rows(np.arange(n))


def make_cache(path: Path, clips: list[Clip] | None = None, storage: str = "float16") -> Path:
    """Create a cache in which all clips are pending."""
    clips = THREE_CLIPS if clips is None else clips
    create_cache(path, clips, ["Hm?"] * len(clips), SHAPE, REQUEST, FINGERPRINT, storage=storage)
    return path


def fill_cache(path: Path, rows: list[int]) -> Path:
    """Write head vectors to some rows."""
    with CacheWriter(path) as writer:
        writer.write([make_result(row) for row in rows])
    return path


def make_result(row: int, value: NDArray[np.floating] | None = None, content: Content = UNKNOWN) -> ClipResult:
    """Make a result with the head vectors of its row, or with given ones."""
    return ClipResult(row, vectors_of_rows(np.array([row]))[0] if value is None else value, "", 2.5, 0.5, content)


def run_in_other_process(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    """Run Python code in another process, with ``args`` in ``sys.argv``."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def text(values: Sequence[str]) -> NDArray[Any]:
    encoded = [value.encode() for value in values]
    return np.asarray(encoded, dtype=h5py.string_dtype("utf-8", max(1, *map(len, encoded))))


def write_version_1(path: Path, clips: Sequence[Clip] = CLIPS, done: int | None = None) -> Path:
    """Write a cache of format version 1, in which the first clips are done and the next one failed."""
    n = len(clips)
    done = n - 1 if done is None else done
    status, reason = np.zeros(n, np.uint8), [""] * n
    status[:done], status[done : done + 1] = 1, 2
    reason[done:] = ["gone"] * (n - done)
    with h5py.File(path, "w") as file:
        file["heads"] = vectors_of(n).astype(np.float16)
        file["status"], file["reason"] = status, np.asarray(text(reason), dtype=h5py.string_dtype("utf-8", 300))
        file["seconds"], file["peak"] = np.full(n, 2.5, np.float32), np.full(n, 0.5, np.float32)
        for column in ("name", "label", "split", "group"):
            file[column] = text([getattr(clip, column) or "" for clip in clips])
        file["prompts"], file["prompt"] = text(["Hm?"]), np.zeros(n, np.int32)
        file.attrs.update(asdict(FINGERPRINT))
        file.attrs.update(format="calm head cache", format_version=1, model="tiny", revision="")
        file.attrs.update(request=REQUEST.to_json(), made_with=json.dumps({"python": "3"}))
    return path


def write_version_2(path: Path, clips: Sequence[Clip] = CLIPS, done: int | None = None) -> Path:
    """Write the same cache in format version 2, as the current version without its new column."""
    return downgrade_to_version_2(write_current_version(path, clips, done))


def downgrade_to_version_2(path: Path) -> Path:
    """Remove what version 3 added to a cache."""
    smaller = path.with_suffix(".old")
    with h5py.File(path) as new, h5py.File(smaller, "w") as old:
        for name in new:
            if name != "decoded_seconds":
                new.copy(name, old)
        old.attrs.update(dict(new.attrs) | {"format_version": 2})
    return smaller.replace(path)


def write_current_version(path: Path, clips: Sequence[Clip] = CLIPS, done: int | None = None) -> Path:
    """Write the same cache in the current format."""
    done = len(clips) - 1 if done is None else done
    create_cache(path, clips, ["Hm?"] * len(clips), SHAPE, REQUEST, FINGERPRINT, made_with={"python": "3"})
    with CacheWriter(path) as writer:
        writer.write(
            [
                ClipResult(i, vectors_of(len(clips))[i], "", 2.5, 0.5, compute_content(np.full(3, i)), 2.5)
                if i < done
                else ClipResult(i, reason="gone")
                for i in range(min(len(clips), done + 1))
            ]
        )
    return path


WRITERS = {1: write_version_1, 2: write_version_2, 3: write_current_version}
