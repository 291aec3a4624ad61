"""Manifests as programs write them: delimiters, spaces, encodings; and files that are no manifests."""

from __future__ import annotations

import gzip
import shutil
import zipfile
from pathlib import Path

import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calm.extract import Columns, find_clips
from calm.extract.media.find import find_clips_at
from tests.conftest import tone
from tests.extract.media.test_find import touch


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", ", ", " ; "])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "tab", "txt"])
def test_the_delimiter_is_found_by_the_header(tmp_path: Path, delimiter: str, suffix: str) -> None:
    touch(tmp_path, "1.wav")
    lines = [["file name", "path", "label", "note"], ["x", "1.wav", '"dog; a|b, c"', "loud"]]
    (tmp_path / f"list.{suffix}").write_text("\n".join(delimiter.join(line) for line in lines))
    (clip,) = find_clips(tmp_path / f"list.{suffix}")
    assert (clip.name, clip.label) == ("1.wav", "dog; a|b, c")


def test_the_delimiter_is_found_by_named_columns(tmp_path: Path) -> None:
    touch(tmp_path, "1.wav")
    (tmp_path / "list.csv").write_text("Datei;Klasse\n1.wav;Hund\n")
    (clip,) = find_clips(tmp_path / "list.csv", columns=Columns(audio="Datei", label="Klasse"))
    assert clip.label == "Hund"


def test_header_and_cells_are_stripped(tmp_path: Path) -> None:
    touch(tmp_path, "1.wav")
    (tmp_path / "list.csv").write_text(" path , label, speaker \n 1.wav , dog , ann\n\n")
    (clip,) = find_clips(tmp_path / "list.csv")
    assert (clip.name, clip.label, clip.group) == ("1.wav", "dog", "ann")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_unicode_with_a_byte_order_mark_is_read(tmp_path: Path, encoding: str, newline: str) -> None:
    touch(tmp_path, "ö.wav")
    (tmp_path / "list.csv").write_bytes(f"path;label{newline}ö.wav;dög{newline}".encode(encoding))
    (clip,) = find_clips(tmp_path / "list.csv")
    assert (clip.name, clip.label) == ("ö.wav", "dög")


def test_other_encodings_are_refused_with_a_remedy(tmp_path: Path) -> None:
    touch(tmp_path, "1.wav")
    (tmp_path / "list.csv").write_bytes("path,label\n1.wav,dög\n".encode("windows-1252"))
    with pytest.raises(ValueError, match=r"it is not UTF-8 \(byte 0xf6 at position 18\): save it as UTF-8, or .*iconv"):
        find_clips(tmp_path / "list.csv")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cells=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), min_size=1).map(str.strip), min_size=1
    ),
    delimiter=st.sampled_from(",;\t|"),
)
def test_any_label_survives_any_delimiter(tmp_path: Path, cells: list[str], delimiter: str) -> None:
    touch(tmp_path, *(f"{i}.wav" for i in range(len(cells))))
    quoted = ['"' + cell.replace('"', '""') + '"' for cell in cells]
    lines = [f"path{delimiter}label", *(f"{i}.wav{delimiter}{cell}" for i, cell in enumerate(quoted))]
    (tmp_path / "list.csv").write_text("\n".join(lines), encoding="utf-8", newline="")
    assert [clip.label or "" for clip in find_clips(tmp_path / "list.csv")] == cells


# --- what was used ---


def test_the_columns_that_were_used_are_described(tmp_path: Path, esc10: Path) -> None:
    touch(tmp_path, "1.wav")
    (tmp_path / "list.csv").write_text("file_name,category,fold,note\n1.wav,dog,1,x\n")
    _, columns = find_clips_at(tmp_path / "list.csv")
    assert columns is not None and columns.describe() == "audio from file_name, label from category, group from fold"
    (tmp_path / "list.csv").write_text("file_name,species\n1.wav,owl\n")
    clips, columns = find_clips_at(str(tmp_path / "list.csv"))
    assert columns is not None and clips[0].label is None
    assert columns.describe() == (
        "audio from file_name; no label column among file_name, species: name one with --label-column"
    )
    assert find_clips_at(touch(tmp_path / "folder", "dog/1.wav"))[1] is None
    columns = find_clips_at(esc10)[1]
    assert columns is not None and columns.used["group"] == "fold"


def test_columns_of_all_splits_are_described(tmp_path: Path) -> None:
    for split, label in (("train", "label"), ("test", "class")):
        touch(tmp_path, f"{split}/1.wav")
        (tmp_path / split / "metadata.csv").write_text(f"file_name,{label}\n1.wav,dog\n")
    _, columns = find_clips_at(tmp_path)
    assert columns is not None and columns.names == ("file_name", "class", "label")


# --- single files ---


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        (
            "list.parquet",
            ": convert it, for example with pandas.read_parquet('list.parquet').to_csv('list.csv', index=",
        ),
        ("list.xlsx", ": convert it, for example with pandas.read_excel('list.xlsx').to_csv('list.csv', index="),
        ("list.tsv.gz", ": unpack it first"),
        ("list.zip", ": unpack it first"),
        ("list.pkl", ""),
        ("list.yaml", ""),
        ("README", ""),
        ("paper.pdf", ""),
    ],
)
def test_a_file_that_is_neither_audio_nor_a_manifest_is_refused(tmp_path: Path, name: str, advice: str) -> None:
    path = tmp_path / name
    text = b"path\tlabel\n1.wav\tdog\n"
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text))
    elif name.endswith((".zip", ".xlsx")):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("list.tsv", text)
    else:
        path.write_bytes(b"PAR1" + text)
    with pytest.raises(ValueError, match="is neither audio") as error:
        find_clips(path)
    message = f"{path} is neither audio nor a manifest in CSV, TSV, JSON or JSONL{advice}"
    assert str(error.value).removesuffix("False)") == message


@pytest.mark.parametrize("suffix", ["txt", "tab"])
def test_text_that_lists_no_files_is_refused(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"notes.{suffix}").write_text("Dear all,\nthese are " + "very " * 500 + "long notes.\n")
    with pytest.raises(ValueError, match=r"notes\.\w+ has no column of audio files: it has Dear all, "):
        find_clips(tmp_path / f"notes.{suffix}")
    (tmp_path / f"notes.{suffix}").write_text("very " * 500 + "\nlong notes\n")
    with pytest.raises(ValueError, match="has no column of audio files") as error:
        find_clips(tmp_path / f"notes.{suffix}")
    assert len(str(error.value)) < 500


def test_audio_with_an_unusual_suffix_is_a_clip(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(440), 16000)
    for name in ("a.sph", "a", "a.dat"):
        shutil.copy(tmp_path / "a.wav", tmp_path / name)
        assert [clip.name for clip in find_clips(tmp_path / name)] == [str(tmp_path / name)]


def test_a_damaged_file_with_a_usual_suffix_is_a_clip_that_fails_later(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("no audio")
    assert len(find_clips(tmp_path / "a.wav")) == 1


@pytest.mark.parametrize("header", ["path,label,label", "path,label,path", "path,label,note, note"])
def test_columns_of_the_same_name_are_refused(tmp_path: Path, header: str) -> None:
    touch(tmp_path, "1.wav")
    (tmp_path / "list.csv").write_text(f"{header}\n1.wav,dog,1.wav,1.wav\n")
    with pytest.raises(ValueError, match="more than one column '(label|path|note)': rename or remove all but one"):
        find_clips(tmp_path / "list.csv")


def test_columns_without_a_name_may_repeat(tmp_path: Path) -> None:
    touch(tmp_path, "1.wav")
    (tmp_path / "list.csv").write_text("path,label,,\n1.wav,dog,,\n")
    assert find_clips(tmp_path / "list.csv")[0].label == "dog"


@pytest.mark.parametrize("start", ["\n", "\r\n\r\n", "  \n"])
def test_empty_lines_before_the_header_are_skipped(tmp_path: Path, start: str) -> None:
    touch(tmp_path, "1.wav")
    (tmp_path / "list.csv").write_bytes(f"{start}path;label\n1.wav;dog\n".encode())
    (clip,) = find_clips(tmp_path / "list.csv")
    assert (clip.name, clip.label) == ("1.wav", "dog")
