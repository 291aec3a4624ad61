"""Links between the Markdown files of the repository lead to files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PATTERNS = ("*.md", "docs/*.md", "docs/howto/*.md", "docs/api/index.md", "benchmarks/*.md", "examples/**/*.md")
MODEL_CARD = ROOT / "calm/extract/models/tiny/checkpoint/README.md"
DOCUMENTS = [*sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern)), MODEL_CARD]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    relative = [target.split("#")[0] for target in targets if not re.match(r"https?:|mailto:|#", target)]
    assert [target for target in relative if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_files_of_the_package_exist(document: Path) -> None:
    named = re.findall(r"`((?:calm|tests|docs|examples|benchmarks)/[\w./-]+\.\w+)`", document.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []
