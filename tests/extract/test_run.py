"""Extraction resumes where it stopped, refuses to mix different extractions, and continues after a bad clip."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile
import torch

from calm import HeadExtractor
from calm.extract import (
    LALM,
    CacheWriter,
    Clip,
    ClipResult,
    HeadCache,
    Request,
    extract_to_cache,
    find_clips,
    head_vectors,
)
from calm.extract.forward.batch_size import BatchSize
from tests.conftest import another_tiny, noise, short_of_memory, tone

Maker = Callable[..., Path]
REQUEST = Request(model="tiny")
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def heads(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return file["heads"][:]


def run(clips: Any, path: Path, lalm: LALM, **options: Any) -> Any:
    return extract_to_cache(clips, path, Request(lalm.name), lalm=lalm, **options)


def test_every_clip_of_a_folder_gets_its_row(class_folder: Maker, tmp_path: Path, tiny: LALM) -> None:
    report = run(find_clips(class_folder(4)), tmp_path / "heads.h5", tiny)
    assert (report.clips, report.done, report.new, report.failures, report.cut, report.silent) == (8, 8, 8, {}, 0, 0)
    with HeadCache(report.path) as cache:
        assert cache.shape == (8, 6, 8, 32)
        assert cache.names[0] == "high/0.wav"
        assert cache.labels.tolist() == ["high"] * 4 + ["low"] * 4
        assert set(cache.texts) == {"What is the sound in this audio clip?"}
        np.testing.assert_allclose(cache.seconds, 0.5)
        assert cache.fingerprint.prompt == tiny.builder.chat("What is the sound in this audio clip?")


@pytest.mark.parametrize("tokens", [1, 5])
def test_rows_are_the_models_own_vectors(tmp_path: Path, tiny: LALM, tokens: int) -> None:
    wave = tone(700)
    extract_to_cache(
        find_clips([wave]), tmp_path / "heads.h5", replace(REQUEST, tokens=tokens), lalm=tiny, storage="float32"
    )
    written = []
    hooks = [
        projection.register_forward_pre_hook(lambda _, args: written.append(args[0][0, -tokens:].mean(dim=0)))
        for projection in tiny.heads.projections
    ]
    with torch.inference_mode():
        tiny.model(**tiny.inputs([wave], [tiny.builder.chat("What is the sound in this audio clip?")]))
    for hook in hooks:
        hook.remove()
    np.testing.assert_allclose(
        heads(tmp_path / "heads.h5")[0], torch.stack(written).reshape(6, 8, 32).numpy(), atol=1e-5
    )


def test_batch_size_and_workers_do_not_matter(class_folder: Maker, tmp_path: Path, tiny: LALM) -> None:
    clips = find_clips(class_folder(5))
    for name, options in {"a": {}, "b": {"batch_size": 1, "workers": 1}, "c": {"batch_size": 7}}.items():
        run(clips, tmp_path / f"{name}.h5", tiny, storage="float32", **options)
    for name in "bc":
        np.testing.assert_allclose(heads(tmp_path / f"{name}.h5"), heads(tmp_path / "a.h5"), atol=1e-4)


def test_a_completed_extraction_is_not_repeated_and_loads_no_model(class_folder: Maker, tmp_path: Path) -> None:
    path, data = tmp_path / "heads.h5", class_folder(2)
    code = (
        "import sys; from calm.extract import *; "
        "from calm.extract import Request; "
        f"report = extract_to_cache(find_clips({str(data)!r}), {str(path)!r}, Request(model='tiny')); "
        "print(report.new, 'transformers' in sys.modules)"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code.replace(" import *", " import extract_to_cache, find_clips")],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    ]
    assert outputs == ["4 True\n", "0 False\n"]


def test_an_interrupted_extraction_resumes_to_the_same_bytes(
    class_folder: Maker, tmp_path: Path, tiny: LALM, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, whole, resumed = find_clips(class_folder(12)), tmp_path / "whole.h5", tmp_path / "resumed.h5"
    run(clips, whole, tiny)
    original = CacheWriter.write
    batches: list[Any] = []

    def stop_after_one(self: CacheWriter, *args: Any) -> list[ClipResult]:
        if batches:
            raise KeyboardInterrupt
        batches.append(args)
        return original(self, *args)

    monkeypatch.setattr(CacheWriter, "write", stop_after_one)
    with pytest.raises(KeyboardInterrupt):
        run(clips, resumed, tiny)
    monkeypatch.undo()
    with HeadCache(resumed) as cache:
        assert cache.done.tolist() == list(range(8))
    report = run(clips, resumed, tiny)
    assert (report.done, report.new) == (24, 16)
    np.testing.assert_array_equal(heads(resumed), heads(whole))


@pytest.mark.slow
def test_killed_extractions_lose_nothing() -> None:
    result = subprocess.run(
        [sys.executable, BENCHMARKS / "kill_and_resume.py", "--kills", "6", "--clips", "120"],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert result.returncode == 0, result.stderr
    assert "damaged files 0, acknowledged rows lost 0, files left behind []" in result.stdout


# --- clips that fail ---


def spoil(data: Path) -> dict[str, str]:
    """Put clips that cannot be used among good ones; return a word of each reason."""
    (data / "high/text.wav").write_text("not audio")
    (data / "high/empty.wav").touch()
    soundfile.write(data / "low/nan.wav", np.array([0.0, np.nan] * 400), 16000, subtype="FLOAT")
    soundfile.write(data / "low/none.wav", np.zeros(0), 16000)
    return {
        "high/text.wav": "readable",
        "high/empty.wav": "readable",
        "low/nan.wav": "NaN",
        "low/none.wav": "no samples",
    }


def test_bad_clips_fail_alone_with_their_reasons(class_folder: Maker, tmp_path: Path, tiny: LALM) -> None:
    good = run(find_clips(class_folder(4)), tmp_path / "good.h5", tiny)
    data = class_folder(4)
    reasons = spoil(data)
    report = run(find_clips(data), tmp_path / "heads.h5", tiny)
    assert set(report.failures) == set(reasons)
    assert all(word in report.failures[name] for name, word in reasons.items())
    assert report.done == good.done == 8
    with HeadCache(tmp_path / "heads.h5") as cache:
        np.testing.assert_allclose(
            cache.read(cache.done), heads(tmp_path / "good.h5").reshape(8, 48, 32).astype(np.float32), atol=2e-2
        )


def test_failed_clips_are_tried_again_once_they_are_mended(class_folder: Maker, tmp_path: Path, tiny: LALM) -> None:
    data, path = class_folder(2), tmp_path / "heads.h5"
    spoil(data)
    assert len(run(find_clips(data), path, tiny).failures) == 4
    unloaded = REQUEST.changed(device="nowhere")  # all pending clips are unreadable: no model is needed
    assert extract_to_cache(find_clips(data), path, unloaded).new == 0
    soundfile.write(data / "high/text.wav", tone(500), 16000)
    report = run(find_clips(data), path, tiny)
    assert report.new == 1
    assert set(report.failures) == {"high/empty.wav", "low/nan.wav", "low/none.wav"}


def test_strict_stops_at_the_first_bad_clip_and_keeps_the_rest(class_folder: Maker, tmp_path: Path, tiny: LALM) -> None:
    data = class_folder(2)
    spoil(data)
    with pytest.raises(ValueError, match=r"high/empty\.wav: not readable as audio"):
        run(find_clips(data), tmp_path / "heads.h5", tiny, strict=True)
    with HeadCache(tmp_path / "heads.h5") as cache:
        assert cache.names[cache.done].tolist() == ["high/0.wav", "high/1.wav", "low/0.wav", "low/1.wav"]
    with pytest.raises(ValueError, match=r"high/empty\.wav"):  # nothing is pending, but a clip has failed
        run(find_clips(data), tmp_path / "heads.h5", tiny, strict=True)


def test_long_and_silent_clips_are_counted(tmp_path: Path, tiny: LALM) -> None:
    clips = find_clips([(noise(600.0, rate=8000), 8000), np.zeros(16000), tone(300)])
    report = run(clips, tmp_path / "heads.h5", tiny)
    assert (report.done, report.cut, report.silent, report.window_seconds) == (3, 1, 1, 5.0)


def test_vectors_that_overflow_the_storage_fail_with_a_way_out(tmp_path: Path, tiny: LALM) -> None:
    model, processor = another_tiny()
    with torch.no_grad():
        model.get_decoder().layers[2].self_attn.v_proj.weight *= 1e6
    loud, clips = LALM("loud", model, processor), find_clips([tone(300)])
    report = run(clips, tmp_path / "a.h5", loud)
    assert "too large for float16: extract with float32 storage" in next(iter(report.failures.values()))
    with CacheWriter(tmp_path / "a.h5") as writer:
        assert writer.pending.tolist() == []  # it would overflow again
    assert run(clips, tmp_path / "b.h5", loud, storage="float32").failures == {}


def test_vectors_that_are_not_finite_fail(tmp_path: Path) -> None:
    model, processor = another_tiny()
    with torch.no_grad():
        model.get_decoder().layers[2].self_attn.v_proj.weight[0, 0] = torch.nan
    report = run(find_clips([tone(300)]), tmp_path / "a.h5", LALM("broken", model, processor))
    assert next(iter(report.failures.values())).startswith("the model returned NaN or infinity for it")


# --- what is refused ---


@pytest.fixture
def cached(class_folder: Maker, tmp_path: Path, tiny: LALM) -> tuple[Path, Path]:
    data, path = class_folder(2), tmp_path / "heads.h5"
    run(find_clips(data), path, tiny)
    return data, path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"question": "Who speaks?"},
            r"differ in question \('What is the sound .*' in .*heads\.h5, 'Who speaks\?' in this run\): write to",
        ),
        ({"template": "Listen. {question}"}, r"differ in template .* 'Listen\. \{question\}' in this run"),
        ({"tokens": 4}, r"differ in tokens \(1 in .*heads\.h5, 4 in this run\)"),
        ({"max_seconds": 2.0}, r"differ in max_seconds \(5\.0 in .*heads\.h5, 2\.0 in this run\)"),
    ],
)
def test_another_request_is_refused_naming_what_differs(
    cached: tuple[Path, Path], tiny: LALM, change: dict[str, Any], message: str
) -> None:
    data, path = cached
    with pytest.raises(ValueError, match=message):
        extract_to_cache(find_clips(data), path, REQUEST.changed(**change), lalm=tiny)


def test_another_question_of_a_clips_own_is_refused(cached: tuple[Path, Path], tiny: LALM) -> None:
    clips = [replace(clip, question="Who?") for clip in find_clips(cached[0])]
    with pytest.raises(
        ValueError, match=r"high/0\.wav is 'What is the sound in this audio clip\?' in the cache and 'Who\?' in"
    ):
        run(clips, cached[1], tiny)


def test_another_storage_is_refused(cached: tuple[Path, Path], tiny: LALM) -> None:
    with pytest.raises(ValueError, match=r"storage \('float16' in .*heads\.h5, 'float32' in this run\)"):
        run(find_clips(cached[0]), cached[1], tiny, storage="float32")


def test_another_model_under_the_same_name_is_refused(cached: tuple[Path, Path], tmp_path: Path, tiny: LALM) -> None:
    model, processor = another_tiny()
    with torch.no_grad():
        model.get_decoder().layers[0].mlp.up_proj.weight *= 2
    with pytest.raises(ValueError, match=f"differ in weights \\('{tiny.weights_digest}' in .* in this run"):
        run(find_clips(cached[0]), cached[1], LALM("tiny", model, processor))


def test_the_same_model_under_another_name_resumes(cached: tuple[Path, Path], tmp_path: Path, tiny: LALM) -> None:
    tiny.model.save_pretrained(tmp_path / "copy")
    tiny.processor.save_pretrained(tmp_path / "copy")
    report = extract_to_cache(find_clips(cached[0]), cached[1], Request(str(tmp_path / "copy"), device="cpu"))
    assert (report.done, report.new) == (4, 0)


def test_clips_that_have_gone_are_refused_naming_one(cached: tuple[Path, Path], tiny: LALM) -> None:
    data, path = cached
    (data / "low/0.wav").rename(data / "low/7.wav")
    with pytest.raises(
        ValueError,
        match=r"1 of the 4 clips in .* are missing from the 4 .*, such as low/0\.wav: run again with --prune .*",
    ):
        run(find_clips(data), path, tiny)
    report = run(find_clips(data), path, tiny, prune=True)
    assert (report.clips, report.done, report.new) == (4, 4, 1)
    assert run(find_clips(data), path, tiny, prune=True).new == 0


def test_pruning_alone_needs_no_model(cached: tuple[Path, Path]) -> None:
    data, path = cached
    (data / "low/0.wav").unlink()
    assert extract_to_cache(find_clips(data), path, REQUEST.changed(device="nowhere"), prune=True).new == 0
    with HeadCache(path) as cache:
        assert cache.names.tolist() == ["high/0.wav", "high/1.wav", "low/1.wav"]
        assert len(cache.done) == 3


def test_a_broken_link_is_reported(cached: tuple[Path, Path], tiny: LALM, tmp_path: Path) -> None:
    (tmp_path / "link.h5").symlink_to("nowhere.h5")
    with pytest.raises(FileNotFoundError, match="link.h5 is a link to a file that does not exist"):
        run(find_clips(cached[0]), tmp_path / "link.h5", tiny)


def test_clips_that_were_added_are_all_that_is_extracted(cached: tuple[Path, Path], tiny: LALM) -> None:
    data, path = cached
    soundfile.write(data / "high/00.wav", tone(2500), 16000)  # sorted between other clips, not after them
    clips = find_clips(data)
    report = run(clips, path, tiny)
    assert (report.done, report.new) == (5, 1)
    run(clips, path.with_name("whole.h5"), tiny)
    with HeadCache(path) as cache:
        assert cache.names.tolist() == [clip.name for clip in clips]
        np.testing.assert_allclose(cache.seconds, 0.5)
    np.testing.assert_allclose(heads(path), heads(path.with_name("whole.h5")), atol=2e-2)
    assert sorted(p.name for p in path.parent.glob("*heads.h5*")) == ["heads.h5"]


def test_new_labels_and_groups_need_no_new_vectors(cached: tuple[Path, Path]) -> None:
    data, path = cached
    before = heads(path)
    clips = [replace(clip, label="noise", group="a") for clip in find_clips(data)]
    assert extract_to_cache(clips, path, REQUEST.changed(device="nowhere")).new == 0
    with HeadCache(path) as cache:
        assert set(cache.labels) == {"noise"} and set(cache.groups) == {"a"}
    np.testing.assert_array_equal(heads(path), before)


def test_a_refused_run_leaves_the_cache_as_it_was(cached: tuple[Path, Path], tiny: LALM) -> None:
    data, path = cached
    before = path.read_bytes()
    soundfile.write(data / "high/9.wav", tone(2500), 16000)
    with pytest.raises(ValueError, match="differ in max_seconds"):
        extract_to_cache(find_clips(data), path, replace(REQUEST, max_seconds=1.0), lalm=tiny)
    assert path.read_bytes() == before


def test_a_checkpoint_that_has_changed_in_its_folder_is_refused(cached: tuple[Path, Path], tmp_path: Path) -> None:
    model, processor = another_tiny()
    folder, path, clips = tmp_path / "model", tmp_path / "own.h5", find_clips(cached[0])
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    request = Request(str(folder), device="cpu")
    extract_to_cache(clips, path, request)
    assert extract_to_cache(clips, path, request.changed(device="nowhere")).new == 0
    with torch.no_grad():
        model.get_decoder().layers[0].mlp.up_proj.weight *= 2
    model.save_pretrained(folder)  # a changed checkpoint
    with pytest.raises(ValueError, match="differ in weights"):
        extract_to_cache(clips, path, request)


def test_a_processor_with_other_settings_is_refused(cached: tuple[Path, Path], tiny: LALM) -> None:
    model, processor = another_tiny()
    processor.feature_extractor.hop_length = 320
    with pytest.raises(ValueError, match="differ in processor"):
        run(find_clips(cached[0]), cached[1], LALM("tiny", model, processor))


def test_other_arrays_are_other_clips(tmp_path: Path, tiny: LALM) -> None:
    run(find_clips([tone(300), tone(400)]), tmp_path / "heads.h5", tiny)
    with pytest.raises(ValueError, match="1 of the 2 clips in .* are missing from the 2 clips given"):
        run(find_clips([tone(300), tone(500)]), tmp_path / "heads.h5", tiny)


def test_a_batch_that_runs_out_of_memory_is_split_and_later_ones_are_smaller(
    tmp_path: Path, tiny: LALM, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [*find_clips([tone(300 + 50 * i, seconds=0.2 + 0.02 * i) for i in range(40)]), Clip("none.wav", "none.wav")]
    run(clips, tmp_path / "whole.h5", tiny, storage="float32", batch_size=4)
    sizes = short_of_memory(monkeypatch, tiny, clips=3)
    report = run(clips, tmp_path / "parted.h5", tiny, storage="float32", batch_size=4)
    assert (report.done, report.failed) == (40, 1)
    assert sizes[0] == 4 and set(sizes[-8:]) <= {1, 2}
    np.testing.assert_allclose(heads(tmp_path / "parted.h5"), heads(tmp_path / "whole.h5"), atol=1e-4)


@pytest.mark.parametrize(("free", "grown"), [(10, [16, 32, 64, 64]), (1, [8, 8, 8, 8])])
def test_batches_grow_on_a_gpu_while_as_much_again_is_free(
    free: int, grown: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 7)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 5)
    size, fixed, gpu = BatchSize(), BatchSize(8), torch.device("cuda")
    sizes = []
    for _ in grown:
        size.record_success(3, gpu)  # a batch smaller than the limit does not count
        size.record_success(size.clips, gpu)
        fixed.record_success(8, gpu)
        sizes.append(size.clips)
    assert sizes == grown and fixed.clips == 8
    size.record_out_of_memory(10)
    size.record_success(size.clips, gpu)
    assert size.clips == 5


def test_a_clip_that_runs_out_of_memory_fails_alone_and_is_tried_again(
    tmp_path: Path, tiny: LALM, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = find_clips([tone(300, 0.5), tone(300, 4.0), tone(400, 0.6)])
    with monkeypatch.context() as patch:
        short_of_memory(patch, tiny, clips=8, samples=300)
        report = run(clips, tmp_path / "heads.h5", tiny)
    assert list(report.failures.values()) == ["out of memory on cpu, even alone"] and report.done == 2
    assert run(clips, tmp_path / "heads.h5", tiny).new == 1


def test_clips_of_about_one_length_go_together_and_come_back_in_their_order(tiny: LALM) -> None:
    seconds = [0.3, 2.0, 0.4, 2.1, 0.5, 1.9]
    clips = find_clips([tone(300, s) for s in seconds])
    batches = list(head_vectors(tiny, clips, ["What?"] * 6, batch_size=3))
    assert [[result.row for result in batch] for batch in batches] == [[1, 3, 5], [0, 2, 4]]
    some = list(head_vectors(tiny, clips, ["What?"] * 6, batch_size=3, rows=[0, 3]))
    assert [[result.row for result in batch] for batch in some] == [[3], [0]]
    vectors = HeadExtractor("tiny", question="What?").fit_transform([clip.audio for clip in clips])
    np.testing.assert_allclose(vectors[4], np.asarray(batches[1][2].value), atol=1e-4)


def test_an_unwritable_folder_is_reported_before_a_model_is_loaded(class_folder: Maker) -> None:
    unwritable = Path("/proc")
    with pytest.raises(OSError, match="cannot write into /proc"):
        extract_to_cache(find_clips(class_folder(1)), unwritable / "heads.h5", Request("tiny", device="nowhere"))


def test_no_clips_and_no_folder_are_refused(tmp_path: Path, tiny: LALM) -> None:
    with pytest.raises(ValueError, match="no clips to extract"):
        run([], tmp_path / "heads.h5", tiny)
    with pytest.raises(FileNotFoundError, match=r"cannot write heads\.h5: folder .*nowhere does not exist"):
        run(find_clips([tone(300)]), tmp_path / "nowhere/heads.h5", tiny)


def test_an_invalid_question_can_be_repaired_in_the_manifest(tmp_path: Path, tiny: LALM) -> None:
    for i in range(3):
        soundfile.write(tmp_path / f"{i}.wav", noise(0.5, i), 16000)
    manifest, path = tmp_path / "m.csv", tmp_path / "heads.h5"
    manifest.write_text("audio,question\n0.wav,Who?\n1.wav,Is it <|AUDIO|>?\n2.wav,Who?\n")
    assert list(run(find_clips(manifest), path, tiny).failures) == ["1.wav"]
    manifest.write_text("audio,question\n0.wav,Who?\n1.wav,Is it?\n2.wav,Who?\n")
    report = run(find_clips(manifest), path, tiny)
    assert (report.done, report.new, report.failures) == (3, 1, {})


def test_a_file_that_holds_something_else_by_now_is_extracted_again(
    class_folder: Maker, tmp_path: Path, tiny: LALM
) -> None:
    data, path = class_folder(3), tmp_path / "heads.h5"
    run(find_clips(data), path, tiny)
    before = heads(path)
    soundfile.write(data / "low/1.wav", tone(2500, seed=9), 16000)
    (data / "low/2.wav").touch()  # the same content with a new modification time
    report = run(find_clips(data), path, tiny)
    assert (report.done, report.new) == (6, 1)
    changed = np.abs(heads(path).astype(float) - before).max(axis=(1, 2, 3)) > 0
    assert np.flatnonzero(changed).tolist() == [4]


def test_rows_of_one_name_and_question_keep_their_own_vectors(tmp_path: Path, tiny: LALM) -> None:
    clips = [Clip(tone(pitch), "same.wav") for pitch in (300, 900, 2500)]
    run(clips[:2], tmp_path / "heads.h5", tiny, storage="float32")
    before = heads(tmp_path / "heads.h5")
    assert run(clips, tmp_path / "heads.h5", tiny, storage="float32").new == 1
    np.testing.assert_array_equal(heads(tmp_path / "heads.h5")[:2], before)
    assert run(clips, tmp_path / "heads.h5", tiny, storage="float32").new == 0


def test_a_question_of_a_megabyte_fails_its_own_clip(tmp_path: Path, tiny: LALM) -> None:
    clips = [Clip(tone(300), "a.wav"), Clip(tone(400), "b.wav", question="wörd " * 200_000), Clip(tone(500), "c.wav")]
    report = run(clips, tmp_path / "heads.h5", tiny)
    assert report.failures == {"b.wav": "the question has more than 32768 characters: shorten it"} and report.done == 2
    assert (tmp_path / "heads.h5").stat().st_size < 10**6
    assert run(clips, tmp_path / "heads.h5", tiny).done == 2
