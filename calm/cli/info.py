"""``calm info``: describe a head cache or a fitted classifier."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from calm.cli._files import CACHE, is_hdf5, load_classifier, may_be_safetensors, open_cache
from calm.cli._shared import (
    format_count,
    format_percent,
    format_size,
    one_line_errors,
    print_failures,
    print_json,
    print_line,
    print_notes,
    shorten,
)

if TYPE_CHECKING:
    from calm.classifiers.base import HeadClassifier
    from calm.extract import Fingerprint, HeadCache, Request
    from calm.extract.cache.reader import Categorical


@one_line_errors
def info(
    file: Annotated[Path, typer.Argument(help="Head cache or fitted classifier.")] = CACHE,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Describe a head cache or a fitted classifier.

    A head cache can be read while an extraction is still writing to it.
    """
    if file.is_dir():
        raise IsADirectoryError(f"{file} is a folder, neither a head cache nor a fitted classifier")
    if file == CACHE or is_hdf5(file):
        with open_cache(file) as cache:
            print_json(_collect_cache_facts(cache)) if json else _print_cache(cache)
    elif not file.is_file() or may_be_safetensors(file):
        classifier = load_classifier(file)
        print_json(_collect_classifier_facts(classifier)) if json else _print_classifier(file, classifier)
    else:
        raise ValueError(f"{file} is neither a head cache nor a fitted classifier")


def _collect_cache_facts(cache: HeadCache) -> dict[str, Any]:
    """Return the JSON output for a head cache."""
    prompts = cache.prompts.tolist()
    return {
        "kind": "head cache",
        "format_version": cache.version,
        "shape": cache.shape,
        "storage": cache.storage,
        "done": len(cache.done),
        "failed": cache.failures,
        "notes": cache.notes,
        "labels": _count_clips(cache.categorical("label")),
        "groups": len({*cache.categorical("group").texts.tolist()} - {""}),
        "splits": _count_clips(cache.categorical("split")),
        "prompts": len(prompts),
        "asked": prompts[0] if prompts else None,
        "request": cache.request.options,
        "fingerprint": _collect_fingerprint_facts(cache.fingerprint),
        "made_with": cache.made_with,
    }


def _count_clips(column: Categorical) -> dict[str, int]:
    """Count the clips with each text of a column."""
    counts = np.bincount(column.codes, minlength=len(column.texts))
    return dict(zip(column.texts.tolist(), counts.tolist(), strict=True))


def _collect_fingerprint_facts(fingerprint: Fingerprint) -> dict[str, Any]:
    """Return a fingerprint as JSON; an infinite ``max_seconds`` becomes null, because JSON has no infinity."""
    facts = asdict(fingerprint)
    return facts | {"max_seconds": facts["max_seconds"] if math.isfinite(fingerprint.max_seconds) else None}


def _print_cache(cache: HeadCache) -> None:
    """Print a head cache as text, one aspect per line."""
    facts = _collect_cache_facts(cache)
    clips, layers, heads, dim = cache.shape
    pending = clips - facts["done"] - len(facts["failed"])
    state = [f"{facts['done']} done"]
    state += [f"{pending} pending"] if pending else []
    state += [f"{len(facts['failed'])} failed"] if facts["failed"] else []
    size = format_size(cache.path.stat().st_size)
    print_line(f"{cache.path}: a head cache of {format_count(clips, 'clip')} ({', '.join(state)}), {size}")
    attention_layers = f" (those with attention: {cache.fingerprint.layers})" if cache.fingerprint.layers else ""
    print_line(f"heads     {layers} layers{attention_layers} × {heads} heads × {dim} dimensions, {cache.storage}")
    labels = {label: n for label, n in facts["labels"].items() if label}
    if labels:
        smallest, largest = min(labels.values()), max(labels.values())
        per_class = format_count(largest, "clip")
        if smallest != largest:
            per_class = f"{smallest} to {per_class}"
        names = ", ".join(map(shorten, sorted(labels)))
        print_line(f"labels    {format_count(len(labels), 'class')} of {per_class} each: {names}")
    else:
        print_line("labels    none")
    splits = {split: n for split, n in facts["splits"].items() if split}
    if splits:
        print_line(f"splits    {', '.join(f'{split} ({n})' for split, n in splits.items())}")
    if facts["groups"]:
        print_line(f"groups    {facts['groups']}")
    _print_extraction(cache.request, cache.fingerprint, cache.prompts.tolist(), cache.made_with.get("revision"))
    versions = {name: v for name, v in cache.made_with.items() if name not in ("revision", "checkpoint")}
    print_line(f"made with {', '.join(f'{name} {number}' for name, number in versions.items())}")
    print_failures(facts["failed"])
    print_notes(facts["notes"])


def _collect_classifier_facts(classifier: HeadClassifier) -> dict[str, Any]:
    """Return the JSON output for a classifier."""
    extraction = classifier.extraction_
    return {
        "kind": type(classifier).__name__,
        "parameters": classifier.get_params(),
        "classes": dict(zip(classifier.classes_.tolist(), classifier.class_count_.tolist(), strict=True)),
        "heads": classifier.n_heads_in_,
        "used_heads": classifier.used_heads_.tolist(),
        "used_layers": None if classifier.used_layers_ is None else classifier.used_layers_.tolist(),
        "dim": classifier.dim_,
        "model": None if extraction is None else extraction.request.model,
        "request": None if extraction is None else extraction.request.options,
        "fingerprint": None if extraction is None else _collect_fingerprint_facts(extraction.fingerprint),
    }


def _print_classifier(file: Path, classifier: HeadClassifier) -> None:
    """Print a classifier as text, one aspect per line."""
    facts = _collect_classifier_facts(classifier)
    size = format_size(file.stat().st_size)
    print_line(f"{file}: a fitted {facts['kind']}, {size}")
    print_line(f"settings  {', '.join(f'{name}={value!r}' for name, value in facts['parameters'].items())}")
    classes = [f"{shorten(label)} ({format_count(n, 'clip')})" for label, n in facts["classes"].items()]
    print_line(f"classes   {', '.join(classes)}")
    n_used, layers = len(facts["used_heads"]), facts["used_layers"]
    usage = ""
    if n_used < facts["heads"]:
        usage = f", {n_used} of them used"
        usage += "" if layers is None else f", in layers up to {max(layers)} of {classifier.layers_}"
    print_line(f"heads     {facts['heads']} × {facts['dim']} dimensions{usage}")
    if hasattr(classifier, "head_weights_"):
        weights = classifier.head_weights_.mean(axis=1)
        best_heads = [h for h in (-weights).argsort()[:5] if weights[h] > 0]
        best = [f"{classifier.head_names_[h]} ({100 * weights[h]:.1f} %)" for h in best_heads]
        print_line(f"weights   {', '.join(best)}")
    held_out_accuracy = getattr(classifier, "held_out_accuracy_", math.nan)
    if not math.isnan(held_out_accuracy):
        print_line(f"held out  {format_percent(held_out_accuracy)} accuracy on support clips in cross-validation")
    extraction = classifier.extraction_
    if extraction is None:
        print_line("model     unknown: the classifier was fitted on arrays")
    else:
        texts = [] if extraction.text is None else [extraction.text]
        _print_extraction(extraction.request, extraction.fingerprint, texts, extraction.request.revision)


def _print_extraction(request: Request, fingerprint: Fingerprint, texts: list[str], commit: str | None) -> None:
    """Print how the head vectors of a cache or of a support set were extracted."""
    revision = f" at {commit}" if commit else ""
    quantization = f", {fingerprint.quantize}" if fingerprint.quantize else ""
    print_line(f"model     {request.model}{revision}, weights {fingerprint.weights}, {fingerprint.dtype}{quantization}")
    print_line(f"prompt    {fingerprint.prompt!r}")
    if len(texts) == 1:
        print_line(f"asked     {texts[0]!r}")
    else:
        first_text = f"{len(texts)} different texts, first {texts[0]!r}" if texts else "different texts"
        print_line(f"asked     {first_text}: clips have their own questions or options")
    position = "the last prompt token" if fingerprint.tokens == 1 else f"mean of the last {fingerprint.tokens} tokens"
    print_line(f"position  {position}")
    duration = f"the first {fingerprint.max_seconds:g} s" if math.isfinite(fingerprint.max_seconds) else "whole clips"
    if fingerprint.modality != "visual":
        print_line(f"audio     {fingerprint.sampling_rate} Hz, {duration}")
    if fingerprint.modality != "audio":
        side = round(fingerprint.max_pixels**0.5)
        print_line(f"video     {fingerprint.fps:g} frames per second, up to {side} × {side} pixels, {duration}")
