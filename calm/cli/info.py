"""``calm info``: what is in a file, in words."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from calm.cli._files import CACHE, is_hdf5, load_classifier, may_be_safetensors, open_cache
from calm.cli._shared import format_count, one_line_errors, print_failures, print_json, print_line

if TYPE_CHECKING:
    from calm.classifiers.base import HeadClassifier
    from calm.extract import Fingerprint, HeadCache, Request
    from calm.extract.cache.reader import Categorical


@one_line_errors
def info(
    file: Annotated[Path, typer.Argument(help="A head cache or a fitted classifier.")] = CACHE,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words.")] = False,
) -> None:
    """Say what is in a head cache or a fitted classifier.

    A cache can be looked at while it is being written.
    """
    if file.is_dir():
        raise IsADirectoryError(f"{file} is a folder, neither a head cache nor a fitted classifier")
    if file == CACHE or is_hdf5(file):
        with open_cache(file) as cache:
            print_json(_cache_facts(cache)) if json else _tell_cache(cache)
    elif not file.is_file() or may_be_safetensors(file):
        classifier = load_classifier(file)
        print_json(_classifier_facts(classifier)) if json else _tell_classifier(file, classifier)
    else:
        raise ValueError(f"{file} is neither a head cache nor a fitted classifier")


def _cache_facts(cache: HeadCache) -> dict[str, Any]:
    prompts = cache.prompts.tolist()
    return {
        "kind": "head cache",
        "format_version": cache.version,
        "shape": cache.shape,
        "storage": cache.storage,
        "done": len(cache.done),
        "failed": cache.failures,
        "labels": _counts(cache.categorical("label")),
        "groups": len({*cache.categorical("group").texts.tolist()} - {""}),
        "splits": _counts(cache.categorical("split")),
        "prompts": len(prompts),
        "asked": prompts[0] if prompts else None,
        "request": cache.request.options,
        "fingerprint": _fingerprint_facts(cache.fingerprint),
        "made_with": cache.made_with,
    }


def _counts(column: Categorical) -> dict[str, int]:
    """Count the clips of each text."""
    counts = np.bincount(column.codes, minlength=len(column.texts))
    return dict(zip(column.texts.tolist(), counts.tolist(), strict=True))


def _fingerprint_facts(fingerprint: Fingerprint) -> dict[str, Any]:
    """Write no limit as null: JSON knows no infinity."""
    facts = asdict(fingerprint)
    return facts | {"max_seconds": facts["max_seconds"] if math.isfinite(fingerprint.max_seconds) else None}


def _tell_cache(cache: HeadCache) -> None:
    facts = _cache_facts(cache)
    clips, layers, heads, dim = cache.shape
    pending = clips - facts["done"] - len(facts["failed"])
    state = [f"{facts['done']} done"]
    state += [f"{pending} pending"] if pending else []
    state += [f"{len(facts['failed'])} failed"] if facts["failed"] else []
    size = cache.path.stat().st_size / 1e6
    print_line(f"{cache.path}: a head cache of {format_count(clips, 'clip')} ({', '.join(state)}), {size:.1f} MB")
    numbers = f" (those with attention: {cache.fingerprint.layers})" if cache.fingerprint.layers else ""
    print_line(f"heads     {layers} layers{numbers} × {heads} heads × {dim} dimensions, {cache.storage}")
    labels = {label: n for label, n in facts["labels"].items() if label}
    if labels:
        smallest, largest = min(labels.values()), max(labels.values())
        each = f"{smallest}" if smallest == largest else f"{smallest} to {largest}"
        print_line(f"labels    {format_count(len(labels), 'class')} of {each} clips: {', '.join(sorted(labels))}")
    else:
        print_line("labels    none")
    splits = {split: n for split, n in facts["splits"].items() if split}
    if splits:
        print_line(f"splits    {', '.join(f'{split} ({n})' for split, n in splits.items())}")
    if facts["groups"]:
        print_line(f"groups    {facts['groups']}")
    _tell_extraction(cache.request, cache.fingerprint, cache.prompts.tolist(), cache.made_with.get("revision"))
    versions = {name: v for name, v in cache.made_with.items() if name not in ("revision", "checkpoint")}
    made = ", ".join(f"{name} {number}" for name, number in versions.items())
    print_line(f"made with {made}")
    print_failures(facts["failed"])


def _classifier_facts(classifier: HeadClassifier) -> dict[str, Any]:
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
        "fingerprint": None if extraction is None else _fingerprint_facts(extraction.fingerprint),
    }


def _tell_classifier(file: Path, classifier: HeadClassifier) -> None:
    facts = _classifier_facts(classifier)
    size = file.stat().st_size / 1e6
    print_line(f"{file}: a fitted {facts['kind']}, {size:.1f} MB")
    print_line(f"settings  {', '.join(f'{name}={value!r}' for name, value in facts['parameters'].items())}")
    print_line(f"classes   {', '.join(f'{label} ({n} clips)' for label, n in facts['classes'].items())}")
    used = len(facts["used_heads"])
    some = f", {used} of them used" if used < facts["heads"] else ""
    layers = facts["used_layers"]
    until = f", in layers up to {max(layers)} of {classifier.layers_}" if some and layers is not None else ""
    print_line(f"heads     {facts['heads']} × {facts['dim']} dimensions{some}{until}")
    if hasattr(classifier, "head_weights_"):
        weights = classifier.head_weights_.mean(axis=1)
        best = [f"{classifier.head_names_[h]} ({100 * weights[h]:.1f} %)" for h in (-weights).argsort()[:5]]
        print_line(f"weights   {', '.join(best)}")
    if not math.isnan(getattr(classifier, "held_out_accuracy_", math.nan)):
        print_line(
            f"held out  {100 * classifier.held_out_accuracy_:.1f} % of support clips right, predicted without them"
        )
    extraction = classifier.extraction_
    if extraction is None:
        print_line("model     unknown: it was fitted on arrays")
    else:
        asked = [] if extraction.text is None else [extraction.text]
        _tell_extraction(extraction.request, extraction.fingerprint, asked, extraction.request.revision)


def _tell_extraction(request: Request, fingerprint: Fingerprint, asked: list[str], commit: str | None) -> None:
    at = f" at {commit}" if commit else ""
    bits = f", {fingerprint.quantize}" if fingerprint.quantize else ""
    print_line(f"model     {request.model}{at}, weights {fingerprint.weights}, {fingerprint.dtype}{bits}")
    print_line(f"prompt    {fingerprint.prompt!r}")
    if len(asked) == 1:
        print_line(f"asked     {asked[0]!r}")
    else:
        many = f"{len(asked)} different texts, {asked[0]!r} first" if asked else "different texts"
        print_line(f"asked     {many}: clips have questions or options of their own")
    position = "the last prompt token" if fingerprint.tokens == 1 else f"mean of the last {fingerprint.tokens} tokens"
    print_line(f"position  {position}")
    cut = f"the first {fingerprint.max_seconds:g} s" if math.isfinite(fingerprint.max_seconds) else "whole clips"
    if fingerprint.modality != "visual":
        print_line(f"audio     {fingerprint.sampling_rate} Hz, {cut}")
    if fingerprint.modality != "audio":
        side = round(fingerprint.max_pixels**0.5)
        print_line(f"pictures  {fingerprint.fps:g} a second of up to {side} × {side} pixels, {cut}")
