"""Texts to classify with real language models: files, languages, man pages and packages.

Each function returns texts, their labels and their groups. All texts are from packages of Debian and Python that
are installed; ``/usr/share/doc/PACKAGE/copyright`` and the metadata of Python packages state their licences. Nothing is
copied into this repository.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import struct
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from real_sounds import STRANGE_EACH, SourceMissingError

FILE_KINDS = ("cmake", "h", "js", "json", "pm", "po", "py", "rst", "xml", "yaml")
FILES_EACH, SNIPPET = 50, 200
LANGUAGES = {
    "ca": "Catalan", "cs": "Czech", "da": "Danish", "de": "German", "es": "Spanish", "fr": "French", "gl": "Galician",
    "it": "Italian", "nl": "Dutch", "pt": "Portuguese", "sk": "Slovak", "sv": "Swedish",
}  # fmt: skip
SECTIONS = {
    "1": "user command", "2": "system call", "3": "library function", "5": "file format", "7": "overview",
    "8": "administration command",
}  # fmt: skip
TOPICS = (
    "database", "editors", "electronics", "fonts", "games", "graphics", "hamradio", "mail", "math", "science", "sound",
    "video",
)  # fmt: skip
STRANGE_WORDS = (
    "river", "stone", "quickly", "under", "seven", "green", "listen", "market", "because", "yellow", "paper", "winter",
)  # fmt: skip
MESSAGES_EACH, PAGES_EACH, PACKAGES_EACH = 40, 80, 40

Texts = tuple[list[str], list[str], list[str]]


def read_file_snippets(roots: Sequence[Path]) -> Texts:
    """Return random snippets of ten kinds of files; the groups are five sets of folders."""
    texts, kinds, groups = [], [], []
    for kind in FILE_KINDS:
        paths = sorted({path for root in roots for path in root.rglob(f"*.{kind}") if path.is_file()}, key=_digest)
        n_chosen: Counter[Path] = Counter()
        for path in paths:
            content = path.read_text(errors="replace")
            if len(content) < 2 * SNIPPET or n_chosen[path.parent] == 2:
                continue
            n_chosen[path.parent] += 1
            start = _digest(path) % (len(content) - SNIPPET)
            texts.append(content[start : start + SNIPPET])
            kinds.append(kind)
            groups.append(str(_digest(path.parent) % 5))
            if n_chosen.total() == FILES_EACH:
                break
        _check_count(kind, n_chosen.total(), FILES_EACH, f"files *.{kind} below {', '.join(map(str, roots))}")
    return texts, kinds, groups


def read_messages(folder: Path) -> Texts:
    """Return translated messages of programs in twelve languages; the groups are the programs."""
    texts, y, groups = [], [], []
    for code, language in LANGUAGES.items():
        n_chosen = 0
        for path in sorted(folder.glob(f"{code}/LC_MESSAGES/*.mo"), key=lambda path: _digest(path.name)):
            messages = [message for message in _read_catalog(path) if 60 <= len(message) <= SNIPPET]
            chosen = sorted(messages, key=_digest)[: min(2, MESSAGES_EACH - n_chosen)]
            texts += chosen
            y += [language] * len(chosen)
            groups += [path.stem] * len(chosen)
            n_chosen += len(chosen)
        _check_count(language, n_chosen, MESSAGES_EACH, f"messages in {folder}/{code}/LC_MESSAGES")
    return texts, y, groups


def _read_catalog(path: Path) -> list[str]:
    """Return the translated messages of a catalog of GNU gettext, without plural forms."""
    content = path.read_bytes()
    order = "<" if content[:4] == b"\xde\x12\x04\x95" else ">"
    count, originals, translations = struct.unpack_from(f"{order}3I", content, 8)
    messages = {}
    for entry in range(count):
        (length, start), (new_length, new_start) = (
            struct.unpack_from(f"{order}2I", content, table + 8 * entry) for table in (originals, translations)
        )
        messages[content[start : start + length]] = content[new_start : new_start + new_length]
    header = messages.pop(b"", b"")  # the header translates the empty message
    charset = re.search(rb"charset=([\w-]+)", header)
    encoding = charset[1].decode() if charset else "utf-8"
    return [message.split(b"\0")[0].decode(encoding) for message in messages.values()]


def read_man_pages(folder: Path) -> Texts:
    """Return snippets of man pages of six sections; the groups are the first words of the names of the pages."""
    texts, y, groups = [], [], []
    for section, title in SECTIONS.items():
        n_chosen: Counter[str] = Counter()
        for path in sorted((folder / f"man{section}").glob("*.gz"), key=_digest):
            if path.is_symlink() or (content := _read_man_page(path)) is None:
                continue
            family = re.split(r"[^A-Za-z0-9]|(?<=[a-z])(?=[A-Z])", path.name.lstrip("_"))[0].lower()
            if len(content) < 2 * SNIPPET or n_chosen[family] == 4:
                continue
            n_chosen[family] += 1
            start = _digest(path) % (len(content) - SNIPPET)
            texts.append(content[start : start + SNIPPET])
            y.append(title)
            groups.append(family)
            if n_chosen.total() == PAGES_EACH:
                break
        _check_count(title, n_chosen.total(), PAGES_EACH, f"pages in {folder}/man{section}; install manpages-dev")
    return texts, y, groups


def _read_man_page(path: Path) -> str | None:
    """Return the text of a man page from its description on, without markup, or None if it has no description."""
    with gzip.open(path, "rt", errors="replace") as file:
        parts = re.split(r'^\.S[Hh] "?(?:DESCRIPTION|Description)"?', file.read(), maxsplit=1, flags=re.MULTILINE)
    if len(parts) == 1:
        return None
    fonts_removed = re.sub(r"^\.(?:[BI]|[BIR][BIR]) ", "", parts[1], flags=re.MULTILINE)
    lines = [line for line in fonts_removed.splitlines() if line and line[0] not in ".'"]
    plain = re.sub(r"\\[fm](?:\[\w*\]|\(\w\w|\w)|\\[&/,|^%:]", "", " ".join(lines))
    return plain.replace(r"\-", "-").replace(r"\(aq", "'").replace(r"\e", "\\")


def read_package_descriptions() -> Texts:
    """Return one-line descriptions of Debian packages of twelve topics; each source package is a group."""
    if shutil.which("apt-cache") is None:
        raise SourceMissingError("apt-cache is not installed")
    listing = subprocess.run(["apt-cache", "dumpavail"], check=True, capture_output=True, text=True).stdout
    all_sources: set[str] = set()
    chosen: dict[str, dict[str, str]] = {topic: {} for topic in TOPICS}
    paragraphs: list[dict[str, str]] = [
        dict(re.findall(r"^([\w-]+): (.*)$", text, flags=re.MULTILINE)) for text in listing.split("\n\n")
    ]
    for package in sorted((p for p in paragraphs if "Package" in p), key=lambda p: _digest(p["Package"])):
        source = package.get("Source", package["Package"]).split()[0]
        topic = chosen.get(package.get("Section", ""))
        if topic is not None and len(topic) < PACKAGES_EACH and source not in all_sources:
            topic[source] = package["Description"]
            all_sources.add(source)
    for name, sources in chosen.items():
        _check_count(name, len(sources), PACKAGES_EACH, "packages that apt-cache lists; run apt-get update")
    rows = [(text, topic, source) for topic, sources in chosen.items() for source, text in sources.items()]
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def strange_texts() -> tuple[list[str], list[str]]:
    """Return texts of no class, and their kinds."""
    rng = np.random.default_rng(0)
    letters = np.array([*"abcdefghijklmnopqrstuvwxyz"])
    words = np.array(STRANGE_WORDS)
    texts, kinds = [], []
    for i in range(STRANGE_EACH):
        texts += [
            "".join(rng.choice(letters, SNIPPET)),
            " ".join(rng.choice(words, SNIPPET // 6)),
            " " * int(rng.integers(1, SNIPPET)),
            str(letters[i]) * SNIPPET,
        ]
        kinds += ["random letters", "random words", "blanks", "one letter"]
    return texts, kinds


def _check_count(label: str, count: int, wanted: int, place: str) -> None:
    if count < wanted:
        raise SourceMissingError(f"{label!r} has {count} of {wanted} texts: too few {place}")


def _digest(value: Path | str) -> int:
    """Return a number that sorts in an arbitrary but fixed order."""
    return int.from_bytes(hashlib.blake2b(str(value).encode(), digest_size=8).digest(), "big")
