"""Damaged, malformed and unusual manifests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calm.extract import find_clips
from tests.extract.media.test_find import touch


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("deep.json", b"[" * 200_000, "cannot be read as json: it is nested too deeply"),
        ("deep.jsonl", b'{"path": ' * 200_000, "cannot be read as jsonl: it is nested too deeply"),
        ("cut.csv", "path,label\na.wav,dög\n".encode("utf-16")[:-1], "cannot be read as csv: it is not UTF-16"),
        ("latin.tsv", "path\tlabel\na.wav\tdög\n".encode("latin-1"), "cannot be read as tsv: it is not UTF-8"),
        ("nul.csv", b"path,label\na.wav,do\0g\n", "NUL"),
        ("half.csv", "path,label\na.wav,dog\n".encode("utf-16-le"), "NUL"),
        ("nul.json", b'[{"path": "a.wav", "label": "do\\u0000g"}]', "entry 1 contains a NUL character"),
        ("nul.jsonl", b'{"path": "a.wav", "la\\u0000bel": "dog"}', "entry 1 contains a NUL character"),
        ("field.csv", b"path,label\na.wav," + b"x" * 200_000, "field larger than field limit"),
        ("number.json", b'[{"path": "a.wav", "label": ' + b"9" * 5000 + b"}]", "cannot be read as json"),
        ("options.json", b'[{"path": "a.wav", "options": [["dog"]]}]', "entry 1: an option must be one value"),
        ("label.json", b'[{"path": "a.wav", "label": ' + b"[" * 500 + b"]" * 500 + b"}]", "'label' must be one value"),
        ("many.json", json.dumps([{f"c{i}": 1 for i in range(5000)}]).encode(), "it has c0, c1, .*, c19 …; looked for"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_named_in_one_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    touch(tmp_path, "a.wav")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}.*{message}") as error:
        find_clips(tmp_path / name)
    assert "\n" not in str(error.value) and len(str(error.value)) < 1000


def test_a_manifest_larger_than_memory_is_named(tmp_path: Path) -> None:
    code = f"""if True:
        import resource
        from pathlib import Path
        from calm.extract import find_clips
        path = Path({str(tmp_path / "list.json")!r})
        path.write_text("[" + "{{}}," * 3_000_000 + "{{}}]")
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + 100 * 2**20, -1))
        try: find_clips(path)
        except ValueError as error: print(error)
    """
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert process.stdout == f"{tmp_path / 'list.json'} cannot be read as json: not enough memory\n"


@pytest.mark.parametrize("name", ["list.csv", "list.json", "list.jsonl"])
def test_a_manifest_that_is_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    code = f"from calm.extract import find_clips; find_clips({str(tmp_path / name)!r})"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert process.stderr.splitlines()[-1].endswith(f"{name} is a named pipe, not a file")
    assert "ValueError" in process.stderr.splitlines()[-1]


def test_halves_of_characters_become_signs_and_file_names_that_are_no_text_are_found(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xe4r.wav")).touch()
    rows = [
        {"path": "b\udce4r.wav", "label": "d\ud800g", "options": ["d\ud800g", "cat"], "group": 7},
        {"path": "\ud800.wav", "label": "dog"},
    ]
    (tmp_path / "list.json").write_text(json.dumps(rows))
    bear, none = find_clips(tmp_path / "list.json")
    assert (bear.name, bear.label, bear.options, bear.group) == ("b\\xe4r.wav", "d�g", ("d�g", "cat"), "7")
    assert Path(str(bear.audio)).exists() and none.name == "�.wav"


def test_paths_may_lead_anywhere_and_a_url_leads_nowhere(tmp_path: Path) -> None:
    touch(tmp_path, "data/1.wav", "beside/2.wav", "beside/4.wav")
    cells = ["1.wav", "../beside/2.wav", str(tmp_path / "beside/4.wav"), "https://example.org/3.wav"]
    (tmp_path / "data/list.csv").write_text("\n".join(["path", *cells]))
    clips = find_clips(tmp_path / "data/list.csv")
    assert [clip.name for clip in clips] == cells
    assert [Path(str(clip.audio)).exists() for clip in clips] == [True, True, True, False]


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_CELLS = st.dictionaries(
    st.sampled_from(["path", "label", "split", "group", "question", "options", "video"]), _JSON, max_size=4
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(_CELLS.map(lambda cells: {"path": "a.wav", **cells}), max_size=3) | _JSON)
def test_any_json_is_clips_or_a_line_that_says_why_not(tmp_path: Path, rows: Any) -> None:
    touch(tmp_path, "a.wav")
    (tmp_path / "list.json").write_text(json.dumps(rows))
    try:
        clips = find_clips(tmp_path / "list.json")
    except (ValueError, FileNotFoundError) as error:
        assert "list.json" in str(error)
    else:
        for clip in clips:
            texts = (clip.name, clip.label, clip.split, clip.group, clip.question, *(clip.options or ()))
            assert all("\0" not in text.encode().decode() for text in texts if text is not None)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=80), suffix=st.sampled_from(["csv", "tsv", "json", "jsonl"]))
def test_any_bytes_are_clips_or_a_line_that_says_why_not(tmp_path: Path, content: bytes, suffix: str) -> None:
    (tmp_path / f"list.{suffix}").write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=f"list.{suffix}"):
        find_clips(tmp_path / f"list.{suffix}")


def test_a_nul_in_an_option_names_its_entry(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "m.json").write_text('[{"audio": "a.wav", "options": ["a\\u0000b"]}]')
    with pytest.raises(ValueError, match=r"m\.json, entry 1 contains a NUL character"):
        find_clips(tmp_path / "m.json")


def test_a_label_that_is_nan_in_json_is_missing(tmp_path: Path) -> None:
    touch(tmp_path, "1.wav")
    (tmp_path / "list.json").write_text('[{"path": "1.wav", "label": NaN, "group": NaN}]')  # as json.dump writes it
    (clip,) = find_clips(tmp_path / "list.json")
    assert (clip.label, clip.group) == (None, None)
