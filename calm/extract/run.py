"""Extracting into a cache: begin, resume, count what happened."""

from __future__ import annotations

import contextlib
import functools
import math
import platform
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from calm.extract.cache.creation import create_cache, extend_cache
from calm.extract.cache.layout import DONE, FAILED
from calm.extract.cache.reader import HeadCache
from calm.extract.cache.resume import anything_to_try, check_same_request, described_as
from calm.extract.cache.writer import CacheWriter
from calm.extract.forward.head_vectors import EncodedBatch, head_vectors
from calm.extract.media.content import UNKNOWN, Content, content_of
from calm.extract.media.find import Clip
from calm.extract.media.video import need_av
from calm.extract.models.lalm import LALM
from calm.extract.models.loading import load_lalm
from calm.extract.models.names import checkpoint_of
from calm.extract.progress import progress_bar
from calm.extract.prompt import Prompt
from calm.extract.request import Fingerprint, Request
from calm.extract.result import ClipResult

#: In seconds: lossy codecs fill up their last frame, and encoders round to theirs. No clip is cut by so little.
_FILLED_UP = 0.1


@dataclass(frozen=True)
class ExtractionReport:
    """What an extraction did, and what its cache now holds."""

    path: Path
    clips: int  #: in the cache
    done: int  #: of these, with head vectors
    new: int  #: of these, made by this call
    failed: int  #: clips that could not be read or encoded
    failures: dict[str, str]  #: why each of them failed, by name
    cut: int  #: clips that were longer than the window
    silent: int  #: clips of digital silence
    window_seconds: float  #: where long clips were cut; infinity for no limit


def extract_to_cache(
    clips: Sequence[Clip],
    path: str | Path,
    request: Request,
    *,
    lalm: LALM | None = None,
    storage: str = "float16",
    device: str | None = None,
    device_map: str | None = None,
    attention: str | None = None,
    trust_remote_code: bool = False,
    batch_size: int | None = None,
    workers: int | None = None,
    strict: bool = False,
    prune: bool = False,
    progress: bool = False,
) -> ExtractionReport:
    """Extract head vectors into a cache, or go on with one that was begun.

    In a cache that is there already, clips that are done are left alone and failed ones are tried again. Clips may have
    been added or labelled anew since; that some have gone is an error without ``prune``. A clip whose file holds
    something else than before is extracted anew. When nothing is left to do, the model is not even loaded.

    Parameters
    ----------
    clips : sequence of Clip
        From :func:`calm.extract.find_clips`.
    path : path
        The cache.
    request : Request
        Model, prompt, tokens and window.
    lalm : LALM, optional
        A model already loaded, in place of the one that ``request`` names.
    storage : {"float16", "float32"}
        Of the cache. A clip whose head vectors do not fit into float16 fails with that reason.
    device, device_map, attention, trust_remote_code
        See :func:`calm.extract.load_lalm`.
    batch_size, workers
        See :func:`calm.extract.head_vectors`.
    strict : bool
        Stop at the first clip that fails.
    prune : bool
        Drop the rows of clips that are not among ``clips`` any more.
    progress : bool
        Show a progress bar, where standard error is a terminal.

    Returns
    -------
    ExtractionReport

    Raises
    ------
    ValueError
        If the cache was made in another way, or holds clips that are not among these: the message names what differs.
        With ``strict``, if a clip fails. If there are no clips.
    BlockingIOError
        If another process is writing to the cache.
    OSError
        If the cache cannot be written, or the disk is full.
    ImportError
        If pictures are wanted without PyAV, or the model needs packages that are not there.

    Examples
    --------
    >>> import tempfile
    >>> from calm.extract import find_clips
    >>> noise = [np.random.default_rng(i).normal(size=16000) for i in range(3)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = extract_to_cache(find_clips(noise), f"{folder}/heads.h5", Request(model="tiny"))
    ...     with HeadCache(report.path) as cache:
    ...         print(report.new, cache.shape)
    3 (3, 6, 8, 32)
    """
    path = Path(path)
    if not clips:
        raise ValueError("no clips to extract")
    if storage not in ("float16", "float32"):
        raise ValueError(f"storage must be float16 or float32, got {storage!r}")
    if request.senses.sees:
        need_av()  # told before a model is loaded
    texts = prompt_texts(clips, request.prompt)
    checkpoint = lalm.checkpoint if lalm is not None else checkpoint_of(request.model, request.revision)
    load = functools.partial(
        load_lalm,
        request.model,
        revision=request.revision,
        dtype=request.dtype,
        quantize=request.quantize,
        device=device,
        device_map=device_map,
        attention=attention,
        trust_remote_code=trust_remote_code,
    )
    if path.is_symlink() and not path.exists():
        raise FileNotFoundError(f"{path} is a link to a file that is not there")
    if not path.exists():
        _check_writable(path)
        lalm = lalm or load()
        fingerprint, made_with = fingerprint_of(lalm, request), _made_with(lalm)
        create_cache(path, clips, texts, lalm.heads.shape, request, fingerprint, storage=storage, made_with=made_with)
    new = 0
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(CacheWriter(path))  # locked first: what is found out here then stays true
        check_same_request(writer, request, storage)
        described = described_as(writer, clips, texts, prune)
        to_try = anything_to_try(writer, clips, texts)
        same_model = writer.request == request and checkpoint == writer.made_with.get("checkpoint") != ""
        if to_try or lalm is not None or not same_model:
            lalm = lalm or load()
            writer.fingerprint.check_same(fingerprint_of(lalm, request), mine=str(path), theirs="this run")
        if not described:
            writer = stack.enter_context(extend_cache(writer, clips, texts))
        if to_try and lalm is not None:
            batches = head_vectors(
                lalm,
                clips,
                texts,
                senses=request.senses,
                tokens=request.tokens,
                max_seconds=request.max_seconds,
                rows=writer.todo.tolist(),
                batch_size=batch_size,
                workers=workers,
            )
            done = len(clips) - len(writer.todo)
            with progress_bar(lalm, len(clips), done=done, shown=progress) as bar:
                new = _fill(writer, clips, batches, bar, strict)
        report = _report(writer, new)
    if not path.exists():
        raise FileNotFoundError(f"{path} was removed while it was being written")
    if strict and report.failures:
        name, reason = next(iter(report.failures.items()))
        raise ValueError(f"{name}: {reason}")
    return report


def fingerprint_of(lalm: LALM, request: Request) -> Fingerprint:
    """Find out all that changes a head vector, now that the model is there."""
    prompt, senses, numbers = request.prompt, request.senses, lalm.heads.layers
    limit = lalm.limit_seconds(request.max_seconds, senses)
    chat = lalm.chat(prompt.template.replace("{question}", prompt.question), senses)
    return Fingerprint(
        weights=lalm.weights_digest,
        processor=lalm.processor_digest(senses),
        dtype=lalm.dtype,
        prompt=chat,
        tokens=request.tokens,
        sampling_rate=lalm.sampling_rate,
        max_seconds=math.inf if limit is None else limit,
        modality=senses.modality,
        fps=senses.fps if senses.sees else 0.0,
        max_pixels=senses.max_pixels if senses.sees else 0,
        quantize=request.quantize or "",
        layers="" if numbers == tuple(range(len(numbers))) else " ".join(map(str, numbers)),
    )


def prompt_texts(clips: Sequence[Clip], prompt: Prompt) -> list[str]:
    """Fill the prompt for every clip.

    Where the template names ``{options}`` and a clip has none of its own, the labels of all clips are the options.

    Raises
    ------
    ValueError
        If options are needed and there are neither options nor labels.
    """
    labels = tuple(sorted({clip.label for clip in clips if clip.label is not None}))
    filled = functools.cache(prompt.text)  # one text in memory, however many clips are asked it
    return [filled(clip.question, clip.options or labels) for clip in clips]


def _fill(
    writer: CacheWriter, clips: Sequence[Clip], batches: Iterable[EncodedBatch], bar: tqdm[NoReturn], strict: bool
) -> int:
    """Store batches of encoded clips; return how many could be."""
    stored = 0
    for batch in batches:
        results = writer.write(_results(batch, clips))
        stored += sum(not result.failed for result in results)
        bar.update(len(results))
        if strict and any(result.failed for result in results):
            break
    return stored


def _results(batch: EncodedBatch, clips: Sequence[Clip]) -> list[ClipResult]:
    encoded = zip(batch.rows.tolist(), batch.vectors, batch.seconds, batch.peak, strict=True)
    return [
        ClipResult(row, vectors, seconds=float(seconds), peak=float(peak), content=_content(clips[row]))
        for row, vectors, seconds, peak in encoded
    ] + [
        ClipResult(row, None, failed.reason, failed.seconds, failed.peak, _content(clips[row]))
        for row, failed in batch.failed.items()
    ]


def _content(clip: Clip) -> Content:
    try:
        return content_of(clip.audio, clip.video)
    except OSError:
        return UNKNOWN


def _report(cache: HeadCache, new: int) -> ExtractionReport:
    done: NDArray[np.bool_] = cache.status == DONE
    window = cache.fingerprint.max_seconds
    return ExtractionReport(
        path=cache.path,
        clips=len(cache),
        done=int(done.sum()),
        new=new,
        failed=int((cache.status == FAILED).sum()),
        failures=cache.failures,
        cut=int((cache.seconds[done] > window + _FILLED_UP).sum()),
        silent=int((cache.peak[done] == 0).sum()),
        window_seconds=window,
    )


def _check_writable(path: Path) -> None:
    """Find out that a file cannot be made before a model is loaded for it."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no such folder to write {path.name} into: {path.parent}")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise type(error)(f"cannot write into {path.parent}: {error.strerror}") from error


def _made_with(lalm: LALM) -> dict[str, str]:
    """Note versions and the checkpoint, for the record and to tell a changed one without loading it."""
    packages = {name: version(name) for name in ("calm-audio", "transformers", "torch", "soxr")}
    checkpoint = {"revision": lalm.revision or "", "checkpoint": lalm.checkpoint}
    return packages | {"python": platform.python_version()} | checkpoint
