"""Read the rows of CSV, TSV, JSON and JSONL files, in the encodings and with the delimiters that programs write."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from calm.extract.media.file import open_regular

TABLE_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".jsonl", ".json")

#: Delimiters in the order in which they are tried.
_DELIMITERS = (",", ";", "\t", "|")
_TAB_FIRST = ("\t", ",", ";", "|")

#: Maximum length of the header in characters, for guessing the delimiter.
_MAX_HEADER = 2**16

Row = Mapping[str, Any]


def read_rows(table: Path, is_header: Callable[[Sequence[str]], bool]) -> list[Row]:
    """Read the rows of a table as dictionaries, and check their structure.

    Names and cells of delimited text are stripped of spaces. Text is UTF-8, or UTF-16 with a byte order mark.

    Parameters
    ----------
    table : path
        A file whose suffix is one of ``TABLE_SUFFIXES``.
    is_header : callable
        Whether a list of names can be the header. It decides which delimiter a text file has.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If it cannot be parsed; the message names the file and the entry.
    """
    kind = table.suffix[1:].lower()
    try:
        with open_regular(table) as binary, _decode_text(binary) as file:
            if kind == "jsonl":
                rows: Any = [_read_json_line(line, i) for i, line in enumerate(file, 1) if line.strip()]
            elif kind == "json":
                rows = json.load(file)
            else:
                rows = _read_delimited(file, _TAB_FIRST if kind in ("tsv", "tab") else _DELIMITERS, is_header)
    except FileNotFoundError:
        raise
    except (ValueError, OSError, csv.Error, RecursionError, MemoryError) as error:
        raise ValueError(f"{table} cannot be read as {kind}: {_describe_error(error)}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{table} must contain a list of objects, one per clip")
    for i, row in enumerate(rows, 1):
        if None in row:
            raise ValueError(f"{table}, entry {i} has more cells than the header has columns")
        if any("\0" in text for text in _iterate_texts(row)):
            raise ValueError(f"{table}, entry {i} contains a NUL character: expected UTF-8 text")
    return rows


def _decode_text(binary: BinaryIO) -> io.TextIOWrapper:
    """Open a binary file as text; a byte order mark shows UTF-16, as Excel writes it ("Unicode text")."""
    mark = binary.read(2)
    binary.seek(0)
    encoding = "utf-16" if mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    return io.TextIOWrapper(binary, encoding=encoding, newline="")


def _read_delimited(
    file: TextIO, delimiters: Sequence[str], is_header: Callable[[Sequence[str]], bool]
) -> list[dict[str | None, Any]]:
    """Read delimited text with a header; empty lines are skipped. Cells beyond the header are listed under None."""
    first_lines = iter(lambda: file.readline(_MAX_HEADER), "")
    delimiter = _guess_delimiter(next(filter(str.strip, first_lines), ""), delimiters, is_header)
    file.seek(0)
    lines = _split_lines(file, delimiter)
    header = next(filter(any, lines), [])
    if repeated := [name for name, count in Counter(header).items() if name and count > 1]:
        raise ValueError(f"the header has more than one column {repeated[0]!r}: rename or remove all but one")
    rows: list[dict[str | None, Any]] = []
    for cells in lines:
        if not cells:  # an empty line
            continue
        row: dict[str | None, Any] = dict.fromkeys(header)
        row.update(zip(header, cells, strict=False))
        if len(cells) > len(header):
            row[None] = cells[len(header) :]
        rows.append(row)
    return rows


def _guess_delimiter(first_line: str, delimiters: Sequence[str], is_header: Callable[[Sequence[str]], bool]) -> str:
    """Return the first delimiter that makes the first line a header, or the one that gives the most columns."""
    headers = {delimiter: next(_split_lines([first_line], delimiter), []) for delimiter in delimiters}
    matching = (delimiter for delimiter, names in headers.items() if is_header(names))
    return next(matching, max(delimiters, key=lambda delimiter: len(headers[delimiter])))


def _split_lines(lines: TextIO | Sequence[str], delimiter: str) -> Iterator[list[str]]:
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    return ([cell.strip() for cell in cells] for cells in reader)


def _iterate_texts(value: Any) -> Iterator[str]:
    """Yield all texts in a JSON value, without recursion: it may be nested deeply."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            pending += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            pending += item


def _describe_error(error: Exception) -> str:
    """Give a reason for exceptions whose own text does not help."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, UnicodeDecodeError):
        byte = error.object[error.start]
        if error.encoding.startswith("utf-16"):
            return f"it is not UTF-16: {error.reason}"
        return (
            f"it is not UTF-8 (byte 0x{byte:02x} at position {error.start}): save it as UTF-8, or convert it, for "
            f"example with iconv -f windows-1252 -t utf-8"
        )
    if isinstance(error, UnicodeError):
        return f"its text cannot be decoded: {error}"
    return str(error)


def _read_json_line(line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number}: {error.msg}") from error
