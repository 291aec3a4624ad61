"""Extract head vectors into a cache: create or resume the cache, and report what was done."""

from __future__ import annotations

import contextlib
import functools
import platform
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from calm.atomic_file import check_writable_folder
from calm.extract.cache.creation import check_storable, create_cache, extend_cache
from calm.extract.cache.file import is_empty_file
from calm.extract.cache.layout import FAILED
from calm.extract.cache.reader import HeadCache
from calm.extract.cache.resume import check_resumable, find_changes, has_pending_work, matches_clips
from calm.extract.cache.writer import CacheWriter
from calm.extract.clip_notes import is_cut
from calm.extract.fingerprint import MODEL_DEPENDENT_OPTIONS, check_compatible, compute_fingerprint
from calm.extract.forward.head_vectors import head_vectors
from calm.extract.media.clip import Clip
from calm.extract.media.video import require_av
from calm.extract.models.inputs import InputError
from calm.extract.models.lalm import LALM
from calm.extract.models.names import checkpoint_state
from calm.extract.progress import announce_if_slow, with_progress
from calm.extract.prompt import MAX_TEXT_LENGTH, Prompt
from calm.extract.request import Request
from calm.extract.run_options import RunOptions
from calm.options import build_group, document_options

#: Length in seconds of a clip for which prompt tokens are counted, for models without a window.
_LONG_CLIP_SECONDS = 30.0


@dataclass(frozen=True)
class ExtractionReport:
    """Summary of an extraction: what this run did, and what the cache holds.

    Attributes
    ----------
    path : Path
        Path of the cache.
    clips : int
        Number of clips in the cache.
    done : int
        Number of clips that have head vectors.
    new : int
        Number of clips whose head vectors this run extracted.
    failed : int
        Number of clips that failed.
    unread : int
        Number of failed clips that could not be read. The next run tries them again.
    failures : dict of str to str
        Reason of each failure by name of the clip. The key includes the prompt text if several failed clips have the
        same name.
    cut : int
        Number of clips that were cut because they are longer than ``window_seconds``.
    silent : int
        Number of clips of digital silence.
    window_seconds : float
        Maximum clip length in seconds; infinity means no limit.
    notes : dict of str to tuple of str
        What is unusual about clips that have head vectors, by name of the clip: truncated, cut, very short, or digital
        silence. Clips without a note are left out.

    See Also
    --------
    calm.extract_to_cache : Extract head vectors into a cache.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from calm.extract import find_clips
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clips = find_clips([np.zeros(160000)], sampling_rate=16000)
    ...     report = extract_to_cache(clips, f"{folder}/heads.h5", Request("tiny"))
    >>> report.done, report.failures, report.cut, report.silent, report.window_seconds
    (1, {}, 1, 1, 5.0)
    """

    path: Path
    clips: int
    done: int
    new: int
    failed: int
    unread: int
    failures: dict[str, str]
    cut: int
    silent: int
    window_seconds: float
    notes: dict[str, tuple[str, ...]]


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
    """Extract the head vectors of clips into a cache, or resume an extraction.

    An existing cache is extended. Clips that are done are kept, and clips that could not be read are tried again. New
    clips and new labels are added. Clips that are no longer in ``clips`` are an error, unless ``prune`` removes them.
    A clip whose file has changed is extracted again. The model is loaded only if it is needed. A killed process loses
    no finished row, and other processes can read the cache meanwhile.

    Parameters
    ----------
    clips : sequence of Clip
        Clips, from :func:`calm.find_clips`.
    path : str or Path
        Path of the cache, an HDF5 file.
    request : Request
        Model, prompt, media options and placement.
    lalm : LALM, default=None
        The large audio-language model that ``request`` names, if it is already loaded.
    progress : bool, default=False
        Whether to show progress on standard error: a bar on a terminal, otherwise a line now and then.
    {options}

    Returns
    -------
    ExtractionReport
        What this run did, and what the cache holds.

    Raises
    ------
    ValueError
        If the cache was extracted in another way, or contains clips that are not in ``clips``; the message names the
        difference. If ``lalm`` is not the model that ``request`` names. If a clip fails and ``strict`` is true. If
        there are no clips.
    BlockingIOError
        If another process is writing to the cache.
    OSError
        If the cache cannot be written, or the disk is full.
    ImportError
        If video is requested and PyAV is not installed, or the model needs a package that is not installed.

    See Also
    --------
    calm.HeadCache : Read a cache.
    calm.extract.head_vectors : Extract head vectors without a cache.
    calm.HeadExtractor : Extract head vectors as a step of a scikit-learn pipeline.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from calm.extract import Request, find_clips
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clips = find_clips([np.ones(16000)], sampling_rate=16000)
    ...     report = extract_to_cache(clips, f"{folder}/heads.h5", Request("tiny"))
    >>> report.done
    1
    """
    path, run_options = Path(path), build_group(RunOptions, options)
    if not clips:
        raise ValueError("no clips to extract")
    if request.media_options.uses_video:
        require_av()  # fail before the model is loaded
    texts = prompt_texts(clips, request.prompt)
    if not path.exists() or is_empty_file(path):
        lalm = _create(path, clips, texts, request, lalm, run_options, progress)
    with contextlib.ExitStack() as stack:
        cache = stack.enter_context(CacheWriter(path))  # lock the file first, so that no check below gets outdated
        cache, lalm = _resume(cache, stack, clips, texts, request, lalm, run_options, progress)
        new = 0 if lalm is None else _extract_pending(cache, lalm, request, clips, texts, run_options, progress)
        report = _make_report(cache, new)
    if not path.exists():
        raise FileNotFoundError(f"{path} was removed while it was being written: run the extraction again")
    if run_options.strict and report.failures:
        name, reason = next(iter(report.failures.items()))
        raise ValueError(f"{name}: {reason}")
    return report


def _create(
    path: Path,
    clips: Sequence[Clip],
    texts: Sequence[str],
    request: Request,
    lalm: LALM | None,
    run_options: RunOptions,
    progress: bool,
) -> LALM:
    """Create a cache in which all clips are pending; return the model, because the fingerprint needs it loaded."""
    if path.is_symlink() and not path.exists():
        raise FileNotFoundError(f"{path} is a link to a file that does not exist: remove the link or name another file")
    check_writable_folder(path)  # fail before the model is loaded
    check_storable(clips, texts)
    lalm = lalm or _load(request, progress)
    _check_request_fits(lalm, request, texts)
    create_cache(
        path,
        clips,
        texts,
        lalm.heads.shape,
        request,
        compute_fingerprint(lalm, request),
        storage=run_options.storage,
        made_with=_collect_versions(lalm),
    )
    return lalm


def _load(request: Request, progress: bool) -> LALM:
    with announce_if_slow(f"loading {request.model} …", shown=progress):
        return request.load()


def _check_request_fits(lalm: LALM, request: Request, texts: Sequence[str]) -> None:
    """Warn of a length limit beyond the model's window, and reject more tokens than a prompt has."""
    limit = lalm.builder.limit_seconds(request.max_seconds, request.media_options)
    if request.max_seconds is not None and limit is not None and limit < request.max_seconds:
        warnings.warn(
            f"max_seconds={request.max_seconds:g} is more than the model takes: clips are cut to the first {limit:g} s",
            stacklevel=2,
        )
    if request.tokens > 1 and not request.media_options.uses_video:
        _check_tokens(lalm, request.tokens, max(texts, key=len), _LONG_CLIP_SECONDS if limit is None else limit)


def _check_tokens(lalm: LALM, tokens: int, longest_text: str, seconds: float) -> None:
    """Reject more tokens than the longest prompt has with a clip that fills the window."""
    try:
        n_tokens = lalm.builder.count_tokens(longest_text, seconds)
    except InputError:  # the clip with this text fails alone, with this reason
        return
    if tokens > n_tokens:
        raise ValueError(
            f"tokens={tokens}, but a prompt with a clip of {seconds:g} s has only {n_tokens} tokens: choose fewer"
        )


def _resume(
    cache: CacheWriter,
    stack: contextlib.ExitStack,
    clips: Sequence[Clip],
    texts: Sequence[str],
    request: Request,
    lalm: LALM | None,
    run_options: RunOptions,
    progress: bool,
) -> tuple[CacheWriter, LALM | None]:
    """Update a cache to a list of clips; new and changed clips become pending.

    Returns
    -------
    cache : CacheWriter
        The given cache or the one that replaced it; ``stack`` closes it.
    lalm : LALM or None
        The loaded model; None if nothing is pending.
    """
    _check_same_request(cache, request, run_options.storage)
    same_clips = matches_clips(cache, clips, texts)
    if not same_clips:
        check_resumable(cache, clips, texts, run_options.prune)
    changes = find_changes(cache, clips, texts)
    is_pending = has_pending_work(cache, clips, texts, changes)
    if is_pending or lalm is not None or not _is_same_checkpoint(cache, request):
        lalm = lalm or _load(request, progress)
        check_compatible(cache.fingerprint, compute_fingerprint(lalm, request), str(cache.path), "this run")
    cache.update_modified_times(changes.touched, changes.times)
    if not same_clips or len(changes.rows):
        cache = stack.enter_context(extend_cache(cache, clips, texts, without=changes.rows))
    return cache, lalm if is_pending else None


def _is_same_checkpoint(cache: HeadCache, request: Request) -> bool:
    """Return whether request and checkpoint are those of the cache, as far as is known before the model is loaded."""
    checkpoint = checkpoint_state(request.model, request.revision)
    return checkpoint != "" and (request, checkpoint) == (cache.request, cache.made_with.get("checkpoint"))


def _check_same_request(cache: HeadCache, request: Request, storage: str) -> None:
    """Check that the request is that of the cache, except for options that only the fingerprint can compare."""
    check_compatible(
        cache.request,
        request,
        str(cache.path),
        "this run",
        leave_out=MODEL_DEPENDENT_OPTIONS,
        remedy=": write to another file, or delete it to start over",
        storage=(cache.storage, storage),
    )


def prompt_texts(clips: Sequence[Clip], prompt: Prompt) -> list[str]:
    """Build the prompt text of each clip.

    Parameters
    ----------
    clips : sequence of Clip
        Clips, perhaps with their own questions and answer options.
    prompt : Prompt
        The template, and the question for clips without their own. If the template contains ``{options}``, the
        answer options of clips without their own are the labels of all clips.

    Returns
    -------
    list of str
        The prompt texts, in the order of the clips.

    Raises
    ------
    ValueError
        If the template contains ``{options}`` and there are neither answer options nor labels.

    See Also
    --------
    calm.extract.Prompt : Prompt template.
    calm.extract.head_vectors : Extract head vectors of clips with these prompts.

    Examples
    --------
    >>> import numpy as np
    >>> from calm.extract import find_clips
    >>> clips = find_clips([np.zeros(8), np.ones(8)], ["dog", "rain"])
    >>> prompt_texts(clips, Prompt("{question} Choose from: {options}.", "What is it?"))[0]
    'What is it? Choose from: dog, rain.'
    """
    labels = tuple(sorted({clip.label for clip in clips if clip.label is not None}))

    @functools.cache  # clips with the same prompt share one string in memory
    def write(question: str | None, options: tuple[str, ...]) -> str:
        # A prompt that is too long keeps one character too many, so that the input builder still refuses it.
        return prompt.text(question, options)[: MAX_TEXT_LENGTH + 1]

    return [write(clip.question, clip.options or labels) for clip in clips]


def _extract_pending(
    writer: CacheWriter,
    lalm: LALM,
    request: Request,
    clips: Sequence[Clip],
    texts: Sequence[str],
    run_options: RunOptions,
    progress: bool,
) -> int:
    """Extract and store the head vectors of pending clips; return the number of clips that did not fail."""
    batches = head_vectors(
        lalm,
        clips,
        texts,
        media_options=request.media_options,
        tokens=request.tokens,
        max_seconds=request.max_seconds,
        rows=writer.pending.tolist(),
        batch_size=run_options.batch_size,
        workers=run_options.workers,
    )
    stored, done = 0, len(clips) - len(writer.pending)
    for batch in with_progress(batches, lalm, len(clips), done=done, shown=progress):
        results = writer.write(batch)
        stored += sum(not result.failed for result in results)
        if run_options.strict and any(result.failed for result in results):
            break
    return stored


def _make_report(cache: CacheWriter, new: int) -> ExtractionReport:
    """Count the clips of a cache by what became of them."""
    done, window_seconds = cache.done, cache.fingerprint.max_seconds
    lengths = zip(cache.seconds[done].tolist(), cache.decoded_seconds[done].tolist(), strict=True)
    return ExtractionReport(
        path=cache.path,
        clips=len(cache),
        done=len(done),
        new=new,
        failed=int((cache.status == FAILED).sum()),
        unread=int((cache.status[cache.pending] == FAILED).sum()),
        failures=cache.failures,
        cut=sum(is_cut(*length, window_seconds) for length in lengths),
        silent=int((cache.peak[done] == 0).sum()),
        window_seconds=window_seconds,
        notes=cache.notes,
    )


def _collect_versions(lalm: LALM) -> dict[str, str]:
    """Return the versions of packages and the state of the checkpoint, by which a changed checkpoint is recognized."""
    packages = {name: version(name) for name in ("calm-audio", "transformers", "torch", "soxr")}
    checkpoint = {"revision": lalm.commit or "", "checkpoint": lalm.checkpoint}
    return packages | {"python": platform.python_version()} | checkpoint
