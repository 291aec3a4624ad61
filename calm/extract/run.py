"""Extracting into a cache: begin, resume, count what happened."""

from __future__ import annotations

import contextlib
import functools
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calm.atomic_file import check_writable_folder
from calm.extract.cache.creation import create_cache, extend_cache
from calm.extract.cache.layout import DONE, FAILED
from calm.extract.cache.reader import HeadCache
from calm.extract.cache.resume import check_resumable, find_changes, has_pending_work, matches_clips
from calm.extract.cache.writer import CacheWriter
from calm.extract.fingerprint import MODEL_DEPENDENT_OPTIONS, check_compatible, compute_fingerprint
from calm.extract.forward.head_vectors import head_vectors
from calm.extract.media.clip import Clip
from calm.extract.media.video import require_av
from calm.extract.models.lalm import LALM
from calm.extract.models.names import checkpoint_state
from calm.extract.progress import with_progress
from calm.extract.prompt import MAX_TEXT_LENGTH, Prompt
from calm.extract.request import Request
from calm.extract.run_options import RunOptions
from calm.options import build_group, document_options

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
    unread: int  #: of these, those that could not be read: the next run tries them again
    failures: dict[str, str]  #: why each of them failed, by name; where names are not enough, by question too
    cut: int  #: clips that were longer than the window
    silent: int  #: clips of digital silence
    window_seconds: float  #: where long clips were cut; infinity for no limit


@document_options(RunOptions)
def extract_to_cache(
    clips: Sequence[Clip],
    path: str | Path,
    request: Request,
    *,
    lalm: LALM | None = None,
    progress: bool = False,
    **options: Any,
) -> ExtractionReport:
    """Extract head vectors into a cache, or go on with one that was begun.

    In a cache that is there already, clips that are done are left alone and failed ones are tried again. Clips may have
    been added or labelled anew since; that some have gone is an error without ``prune``. When nothing is left to do,
    the model is not even loaded.

    Parameters
    ----------
    clips : sequence of Clip
        From :func:`calm.extract.find_clips`.
    path : path
        The cache.
    request : Request
        Model, prompt, media options, tokens and window.
    lalm : LALM, default=None
        The model that ``request`` names, loaded already.
    progress : bool, default=False
        Show a progress bar, where standard error is a terminal.
    {options}

    Returns
    -------
    ExtractionReport

    Raises
    ------
    ValueError
        If the cache was made in another way, or holds clips that are not among these: the message names what differs.
        If ``lalm`` is not what ``request`` asks for. With ``strict``, if a clip fails. If there are no clips.
    BlockingIOError
        If another process is writing to the cache.
    OSError
        If the cache cannot be written, or the disk is full.
    ImportError
        If pictures are wanted without PyAV, or the model needs packages that are not there.

    See Also
    --------
    calm.extract.head_vectors : The same without a cache.
    calm.HeadExtractor : The same as a step of a scikit-learn pipeline.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from calm.extract import Request, find_clips
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = extract_to_cache(find_clips([np.ones(16000)]), f"{folder}/heads.h5", Request("tiny"))
    >>> report.done
    1
    """
    path, how = Path(path), build_group(RunOptions, options)
    if not clips:
        raise ValueError("no clips to extract")
    if request.media_options.uses_video:
        require_av()  # told before a model is loaded
    texts = prompt_texts(clips, request.prompt)
    if not path.exists():
        lalm = _begin(path, clips, texts, request, lalm, how)
    with contextlib.ExitStack() as stack:
        cache = stack.enter_context(CacheWriter(path))  # locked first: what is found out from here on stays true
        cache, lalm = _resume(cache, stack, clips, texts, request, lalm, how)
        new = 0 if lalm is None else _fill(cache, lalm, request, clips, texts, how, progress)
        report = _report(cache, new)
    if not path.exists():
        raise FileNotFoundError(f"{path} was removed while it was being written")
    if how.strict and report.failures:
        name, reason = next(iter(report.failures.items()))
        raise ValueError(f"{name}: {reason}")
    return report


def _begin(
    path: Path, clips: Sequence[Clip], texts: Sequence[str], request: Request, lalm: LALM | None, how: RunOptions
) -> LALM:
    """Make a cache in which all clips are pending; return the model, which had to be loaded for it."""
    if path.is_symlink():
        raise FileNotFoundError(f"{path} is a link to a file that is not there")
    check_writable_folder(path)  # told before a model is loaded
    lalm = lalm or request.load()
    fingerprint, made_with = compute_fingerprint(lalm, request), _made_with(lalm)
    create_cache(
        path, clips, texts, lalm.heads.shape, request, fingerprint, storage=how.storage, made_with=made_with
    )  # fmt: skip
    return lalm


def _resume(
    begun: CacheWriter,
    stack: contextlib.ExitStack,
    clips: Sequence[Clip],
    texts: Sequence[str],
    request: Request,
    lalm: LALM | None,
    how: RunOptions,
) -> tuple[CacheWriter, LALM | None]:
    """Bring a cache in line with a list of clips: those that changed, or were added, are pending then.

    Returns
    -------
    cache : CacheWriter
        The same, or the one that has taken its place; closed by ``stack``.
    lalm : LALM or None
        The model, if anything is left to do.
    """
    _check_same_request(begun, request, how.storage)
    described = matches_clips(begun, clips, texts)
    if not described:
        check_resumable(begun, clips, texts, how.prune)
    changes = find_changes(begun, clips, texts)
    to_do = has_pending_work(begun, clips, texts, changes)
    if to_do or lalm is not None or not _is_same_checkpoint(begun, request):
        lalm = lalm or request.load()
        check_compatible(begun.fingerprint, compute_fingerprint(lalm, request), str(begun.path), "this run")
    begun.note_times(changes.touched, changes.times)
    cache = begun
    if not described or len(changes.rows):
        cache = stack.enter_context(extend_cache(begun, clips, texts, without=changes.rows))
    return cache, lalm if to_do else None


def _is_same_checkpoint(begun: HeadCache, request: Request) -> bool:
    """Tell whether a request is for the very checkpoint that a cache was made with, as far as shows without loading."""
    checkpoint = checkpoint_state(request.model, request.revision)
    return checkpoint != "" and (request, checkpoint) == (begun.request, begun.made_with.get("checkpoint"))


def _check_same_request(begun: HeadCache, request: Request, storage: str) -> None:
    """Refuse another way of extracting, as far as it shows before the model is loaded; the fingerprint tells the rest.

    Raises
    ------
    ValueError
        Naming all that differs.
    """
    check_compatible(
        begun.request,
        request,
        str(begun.path),
        "this run",
        leave_out=MODEL_DEPENDENT_OPTIONS,
        remedy=": write to another file, or remove it to begin anew",
        storage=(begun.storage, storage),
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

    @functools.cache  # one text in memory, however many clips are asked it
    def filled(question: str | None, options: tuple[str, ...]) -> str:
        # Of one that is too long, so much that it is still refused when it is asked.
        return prompt.text(question, options)[: MAX_TEXT_LENGTH + 1]

    return [filled(clip.question, clip.options or labels) for clip in clips]


def _fill(
    writer: CacheWriter,
    lalm: LALM,
    request: Request,
    clips: Sequence[Clip],
    texts: Sequence[str],
    how: RunOptions,
    progress: bool,
) -> int:
    """Extract what is left to do, and store it; return how many clips could be."""
    batches = head_vectors(
        lalm,
        clips,
        texts,
        media_options=request.media_options,
        tokens=request.tokens,
        max_seconds=request.max_seconds,
        rows=writer.pending.tolist(),
        batch_size=how.batch_size,
        workers=how.workers,
    )
    stored, done = 0, len(clips) - len(writer.pending)
    for batch in with_progress(batches, lalm, len(clips), done=done, shown=progress):
        results = writer.write(batch)
        stored += sum(not result.failed for result in results)
        if how.strict and any(result.failed for result in results):
            break
    return stored


def _report(cache: CacheWriter, new: int) -> ExtractionReport:
    done: NDArray[np.bool_] = cache.status == DONE
    window = cache.fingerprint.max_seconds
    return ExtractionReport(
        path=cache.path,
        clips=len(cache),
        done=int(done.sum()),
        new=new,
        failed=int((cache.status == FAILED).sum()),
        unread=int((cache.status[cache.pending] == FAILED).sum()),
        failures=cache.failures,
        cut=int((cache.seconds[done] > window + _FILLED_UP).sum()),
        silent=int((cache.peak[done] == 0).sum()),
        window_seconds=window,
    )


def _made_with(lalm: LALM) -> dict[str, str]:
    """Note versions and the checkpoint, for the record and to tell a changed one without loading it."""
    packages = {name: version(name) for name in ("calm-audio", "transformers", "torch", "soxr")}
    checkpoint = {"revision": lalm.commit or "", "checkpoint": lalm.checkpoint}
    return packages | {"python": platform.python_version()} | checkpoint
