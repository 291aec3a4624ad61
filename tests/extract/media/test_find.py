"""Clips are found in folders, AudioFolder layouts, manifests and lists, with their metadata."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calm.extract import Clip, Columns, Prompt, find_clips, prompt_texts


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_esc10_is_read_from_its_metadata_with_folds_as_groups(esc10: Path) -> None:
    clips = find_clips(esc10)
    assert Counter(clip.label for clip in clips) == dict.fromkeys({clip.label for clip in clips}, 40)
    assert len({clip.label for clip in clips}) == 10
    assert {clip.group for clip in clips} == {"1", "2", "3", "4", "5"}
    assert clips[0].name == "dog_bark/1-100032-A.ogg"
    assert Path(str(clips[0].audio)).is_file()


def test_sub_folders_are_classes_at_any_depth_below(tmp_path: Path) -> None:
    touch(tmp_path, "dog/1.wav", "dog/park/2.FLAC", "rain/3.ogg", "rain/notes.txt", ".git/4.wav", "dog/._5.wav")
    found = [(clip.name, clip.label) for clip in find_clips(tmp_path)]
    assert found == [("dog/1.wav", "dog"), ("dog/park/2.FLAC", "dog"), ("rain/3.ogg", "rain")]


def test_folders_named_as_splits_hold_the_classes(tmp_path: Path) -> None:
    touch(tmp_path, "train/dog/1.wav", "train/rain/2.wav", "test/dog/3.wav")
    found = {clip.name: (clip.split, clip.label) for clip in find_clips(tmp_path)}
    assert found == {
        "train/dog/1.wav": ("train", "dog"),
        "train/rain/2.wav": ("train", "rain"),
        "test/dog/3.wav": ("test", "dog"),
    }


def test_a_stray_clip_does_not_turn_splits_into_classes(tmp_path: Path) -> None:
    touch(tmp_path, "train/dog/1.wav", "test/dog/2.wav", "stray.wav")
    found = {clip.name: (clip.split, clip.label) for clip in find_clips(tmp_path)}
    assert found["train/dog/1.wav"] == ("train", "dog")
    assert found["stray.wav"] == (None, None)


def test_case_and_blanks_do_not_matter_in_a_manifest(tmp_path: Path) -> None:
    touch(tmp_path, "1.wav")
    (tmp_path / "list.csv").write_text("File,Label,Speaker_ID\n1.wav, dog ,ann\n")
    clip = find_clips(tmp_path / "list.csv")[0]
    assert (clip.label, clip.group) == ("dog", "ann")


def test_a_class_next_to_others_may_be_called_test(tmp_path: Path) -> None:
    touch(tmp_path, "test/1.wav", "tone/2.wav")
    assert [clip.label for clip in find_clips(tmp_path)] == ["test", "tone"]


def test_clips_without_a_class_folder_have_no_label(tmp_path: Path) -> None:
    assert find_clips(touch(tmp_path, "1.wav"))[0].label is None


def test_audiofolder_metadata_wins_over_folder_names(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.wav", "b/2.wav")
    rows = [{"file_name": "a/1.wav", "label": "dog"}, {"file_name": "b/2.wav", "label": "rain"}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert [clip.label for clip in find_clips(tmp_path)] == ["dog", "rain"]


def test_audiofolder_metadata_may_lie_in_each_split(tmp_path: Path) -> None:
    for split, label in (("train", "dog"), ("test", "rain")):
        touch(tmp_path, f"{split}/1.wav")
        (tmp_path / split / "metadata.csv").write_text(f"file_name,label\n1.wav,{label}\n")
    found = {(clip.name, clip.split, clip.label) for clip in find_clips(tmp_path)}
    assert found == {("train/1.wav", "train", "dog"), ("test/1.wav", "test", "rain")}


ROWS = [
    {"path": "x/1.wav", "class": "dog", "subset": "train", "speaker": "ann"},
    {"path": "x/2.wav", "class": "räin, heavy", "subset": "test", "speaker": "bob"},
]


def as_csv(file: Path, delimiter: str = ",") -> None:
    with file.open("w", encoding="utf-8-sig", newline="") as out:
        writer = csv.DictWriter(out, list(ROWS[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)


MANIFESTS: dict[str, Callable[[Path], Any]] = {
    "list.csv": as_csv,
    "list.tsv": lambda file: as_csv(file, "\t"),
    "list.json": lambda file: file.write_text(json.dumps(ROWS)),
    "list.jsonl": lambda file: file.write_text("\n".join(map(json.dumps, ROWS)) + "\n\n"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_of_any_kind_is_read_by_the_usual_column_names(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "x/1.wav", "x/2.wav")
    MANIFESTS[name](tmp_path / name)
    assert find_clips(tmp_path / name) == [
        Clip(tmp_path / "x/1.wav", "x/1.wav", "dog", "train", "ann"),
        Clip(tmp_path / "x/2.wav", "x/2.wav", "räin, heavy", "test", "bob"),
    ]


def test_columns_may_have_any_name_and_paths_any_root(tmp_path: Path) -> None:
    touch(tmp_path, "audio/1.wav")
    (tmp_path / "list.csv").write_text("Datei,Klasse,Sprecher\n1.wav,Hund,Anna\n")
    columns = Columns(audio="Datei", label="Klasse", group="Sprecher")
    clip = find_clips(tmp_path / "list.csv", columns=columns, root=tmp_path / "audio")[0]
    assert (clip.audio, clip.label, clip.group) == (tmp_path / "audio/1.wav", "Hund", "Anna")


def test_the_published_json_format_loads_as_it_is(tmp_path: Path) -> None:
    touch(tmp_path, "v/1.wav")
    rows = [{"wav": str(tmp_path / "v/1.wav"), "question": "Which?", "mapped_label": "dog", "options": ["dog", "rain"]}]
    (tmp_path / "vgg.json").write_text(json.dumps(rows))
    clip = find_clips(tmp_path / "vgg.json")[0]
    assert (clip.label, clip.question, clip.options) == ("dog", "Which?", ("dog", "rain"))
    assert prompt_texts([clip], Prompt("{question} {options}")) == ["Which? dog, rain"]


def test_options_may_be_text_or_lettered(tmp_path: Path) -> None:
    touch(tmp_path, "1.wav")
    (tmp_path / "a.json").write_text('[{"wav": "1.wav", "options": "dog or rain"}]')
    (tmp_path / "b.json").write_text('[{"wav": "1.wav", "options": {"A": "dog", "B": "rain"}}]')
    assert find_clips(tmp_path / "a.json")[0].options == ("dog or rain",)
    assert find_clips(tmp_path / "b.json")[0].options == ("A. dog", "B. rain")


def test_numbers_as_labels_are_kept_as_text(tmp_path: Path) -> None:
    touch(tmp_path, "1.wav")
    (tmp_path / "a.jsonl").write_text('{"wav": "1.wav", "label": 7, "group": 0}')
    clip = find_clips(tmp_path / "a.jsonl")[0]
    assert (clip.label, clip.group) == ("7", "0")


def test_a_list_of_paths_and_arrays_takes_labels_as_another_argument() -> None:
    clips = find_clips([np.zeros(5), Path("a/b.wav"), (np.zeros(5), 8000)], labels=[1, "dog", None])
    assert [(clip.name[:7], clip.label) for clip in clips] == [("clip 0 ", "1"), ("a/b.wav", "dog"), ("clip 2 ", None)]
    assert find_clips([np.zeros(5)])[0].name == clips[0].name != find_clips([np.ones(5)])[0].name
    with pytest.raises(ValueError, match="1 clips, but 2 labels"):
        find_clips(["a.wav"], labels=[1, 2])


def manifest(text: str, name: str = "list.csv") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder / name

    return make


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda folder: folder / "nowhere", FileNotFoundError, "no such file or folder: .*nowhere"),
        (
            lambda folder: touch(folder, "readme.txt"),
            ValueError,
            "no audio files found in .*: expected one sub-folder per class, with files ending in .3gp",
        ),
        (manifest("a,b\n1,2\n"), ValueError, "no column of audio files: it has a, b; looked for file_name, audio"),
        (manifest("wav,label\n"), ValueError, "lists no clips"),
        (manifest("wav,label\n,dog\n"), ValueError, "entry 1: column 'wav' has no file name"),
        (manifest("wav\nx.wav\n"), FileNotFoundError, "none of the 1 files listed in .* exists, such as .*x.wav"),
        (manifest('{"wav": ', "list.json"), ValueError, "cannot be read as json"),
        (manifest('{"wav": "x.wav"}', "list.json"), ValueError, "must contain a list of objects, one per clip"),
        (manifest("wav,label\nx.wav,dog,cat\n"), ValueError, "entry 1 has more cells than the header has columns"),
        (
            manifest('{"wav": "x"}\n{"wav": ', "list.jsonl"),
            ValueError,
            "cannot be read as jsonl: line 2: Expecting value",
        ),
        (manifest('[{"wav": "x", "label": ["dog"]}]', "list.json"), ValueError, "entry 1: 'label' must be one value"),
        (manifest("[1, 2]", "list.json"), ValueError, "must contain a list of objects, one per clip"),
    ],
)
def test_an_invalid_manifest_gives_a_clear_error(
    tmp_path: Path, make: Callable[[Path], Path], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        find_clips(make(tmp_path))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("wav,label\nx.wav,dog\n")
    with pytest.raises(ValueError, match=r"no column 'speaker': it has wav, label"):
        find_clips(tmp_path / "list.csv", columns=Columns(group="speaker"))


def test_names_of_columns_are_refused_where_there_are_none(tmp_path: Path) -> None:
    touch(tmp_path, "dog/1.wav")
    with pytest.raises(ValueError, match="column names are given, but .* has no metadata"):
        find_clips(tmp_path, columns=Columns(group="speaker"))
    with pytest.raises(ValueError, match="root applies to the paths of a manifest"):
        find_clips(tmp_path, root=tmp_path)


def test_absolute_paths_are_named_by_their_place_below_the_root(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.wav")
    (tmp_path / "list.csv").write_text(f"wav\n{tmp_path / 'x/1.wav'}\n")
    assert find_clips(tmp_path / "list.csv")[0].name == "x/1.wav"


def test_file_names_that_are_not_valid_text_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "dog").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/dog/b\xe4r.wav")).touch()
    assert find_clips(tmp_path)[0].name == "dog/b\\xe4r.wav"


# --- prompts ---


def test_labels_are_the_options_of_clips_without_their_own() -> None:
    clips = [Clip("a", "a", "rain"), Clip("b", "b", "dog"), Clip("c", "c", "dog", options=("x", "y"))]
    texts = prompt_texts(clips, Prompt("{question} {options}", "Which?"))
    assert texts == ["Which? dog, rain", "Which? dog, rain", "Which? x, y"]


def test_options_without_any_are_refused() -> None:
    with pytest.raises(ValueError, match="needs answer options, but the clip has none"):
        prompt_texts([Clip("a", "a")], Prompt("{question} {options}"))


@pytest.mark.parametrize("template", ["{label}?", "{question", "{0}", "{}"])
def test_a_template_that_cannot_be_filled_is_quoted_back(template: str) -> None:
    with pytest.raises(ValueError, match="prompt template") as error:
        Prompt(template)
    assert repr(template) in str(error.value)


def test_names_that_are_no_text_stay_different(tmp_path: Path) -> None:
    for name in (b"x\xff.wav", b"x\xfe.wav"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    assert len({clip.name for clip in find_clips(tmp_path)}) == 2


def test_what_is_no_sound_has_a_name_all_the_same() -> None:
    odd: list[Any] = [[[1.0], [1.0, 2.0]], (np.zeros(3), 16000, "more"), np.zeros(3)]
    assert [clip.name.split(" (")[0] for clip in find_clips(odd)] == ["clip 0", "clip 1", "clip 2"]
