"""Output of the commands: any name, label or message is printed on one line, with control characters escaped."""

from __future__ import annotations

import json
import unicodedata
import warnings

import pytest
import typer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from calm.cli._shared import one_line_errors, print_failures, print_json, print_line, print_table
from calm.terminal import escape_unprintable

NASTY = "\x1b[2J\r\n\x00\x07\x7f\x85\x9b\u2028\u2029\u202e\u2066\u200b\u200e\ufeff\ud800\t\v\f\x1c"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb\rc\td\0", r"a\nb\rc\td\x00"),
        ("\x9b2J\x7f\x85", r"\x9b2J\x7f\x85"),
        ("gnp\u202egpj.exe\u2069", r"gnp\u202egpj.exe\u2069"),
        ("one\u2028two\u2029three", r"one\u2028two\u2029three"),
        ("b\udce4r.wav \ud83d", r"b\udce4r.wav \ud83d"),
        ("do\u200bg \u200dcat\u200c \ufeff\xad\u2060", r"do\u200bg \u200dcat\u200c \ufeff\xad\u2060"),
        ("hid\U000e0041\U000e0042den", r"hid\U000e0041\U000e0042den"),
        ("é\u200d\u200bé", r"é\u200d\u200bé"),
    ],
)
def test_what_a_terminal_obeys_or_hides_is_escaped(text: str, shown: str) -> None:
    assert escape_unprintable(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "naïve Ärger, cafe\u0301",
        "犬 のら 소리 कुत्ता क\u094d\u200dष",
        "می\u200cخواهم",
        "👩\u200d🚀 👩🏽\u200d❤\ufe0f\u200d👨🏻 🏳\ufe0f\u200d🌈 1\ufe0f\u20e3 🇩🇪",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        r"C:\new\x1b",
        "a\u00a0b – “quoted” … ½ \ue000",
    ],
)
def test_what_can_be_read_stays_as_it_is(text: str) -> None:
    assert escape_unprintable(text) == text


_WEIRD = st.text(st.characters() | st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"]) | st.sampled_from(NASTY))


@settings(deadline=None)
@example(NASTY)
@example("é\u200d\u200d\u200cé🏴\U000e0041\U000e007f\u200d🏴")
@given(_WEIRD)
def test_nothing_visible_moves_the_cursor_or_turns_the_line(text: str) -> None:
    shown = escape_unprintable(text)
    assert escape_unprintable(shown) == shown
    assert len(shown.splitlines()) <= 1
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not {unicodedata.bidirectional(c) for c in shown} & {
        *("LRE", "LRO", "RLE", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    }
    shown.encode()


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"], exclude_characters="\u034f")))
def test_printable_text_is_left_as_it_is(text: str) -> None:
    assert escape_unprintable(text) == text


def test_a_line_is_one_line_on_either_stream(capsys: pytest.CaptureFixture[str]) -> None:
    print_line(f"label {NASTY}")
    print_line(f"name {NASTY}", err=True)
    out, err = capsys.readouterr()
    assert out == f"label {escape_unprintable(NASTY)}\n" and err == f"name {escape_unprintable(NASTY)}\n"


def test_cells_and_headers_of_a_table_are_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("clip", NASTY), [(f"[bold]{NASTY}x", "1"), ("犬", "2")], numbers=(1,))
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["clip", escape_unprintable(NASTY)]
    assert first.split() == [f"[bold]{escape_unprintable(NASTY)}x", "1"] and second.split() == ["犬", "2"]


def test_failures_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    print_failures({f"{i}{NASTY}": f"why\n{NASTY}" for i in range(12)})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11 and lines[-1] == "… and 2 more"
    assert lines[0] == f"failed: 0{escape_unprintable(NASTY)}: why\\n{escape_unprintable(NASTY)}"


@pytest.mark.parametrize("error", [ValueError(f"bad {NASTY}"), OSError("two\nlines"), MemoryError()])
def test_an_error_is_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    @one_line_errors
    def command() -> None:
        raise error

    with pytest.raises(typer.Exit):
        command()
    err = capsys.readouterr().err
    assert err == f"error: {escape_unprintable(str(error)) or 'MemoryError'}\n"


def test_a_warning_is_one_line_and_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    @one_line_errors
    def command() -> None:
        for number in (1, 1, 2):
            warnings.warn(f"class {NASTY} has {number} clips", stacklevel=1)
            warnings.warn(f"class {NASTY} has {number} clips", RuntimeWarning, stacklevel=2)

    shown = warnings.showwarning
    for _ in range(2):  # once per run, also if one process runs the command twice
        command()
        assert capsys.readouterr().err == "".join(
            f"warning: class {escape_unprintable(NASTY)} has {number} clips\n" for number in (1, 2)
        )
    assert warnings.showwarning is shown


def test_json_is_exact(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"clip": NASTY, NASTY: "é"})
    out = capsys.readouterr().out
    assert out.isascii() and out.count("\n") == 1
    assert json.loads(out) == {"clip": NASTY, NASTY: "é"}


def test_a_long_cell_does_not_stretch_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    long = "a" * 100 + "z" * 100
    print_table(("clip", "label", "others"), [(long, "x", long), ("b", long, "c")])
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.index("label") < 65 and header.index("others") < 130
    assert first.split() == ["a" * 29 + "…" + "z" * 30, "x", long]  # nothing follows the last column
    assert second.split() == ["b", "a" * 29 + "…" + "z" * 30, "c"]
