"""The reliability checklist names tests that exist, for every requirement."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECKLIST = ROOT / "docs" / "reliability-checklist.md"


def test_every_test_the_reliability_checklist_names_exists():
    named = set(re.findall(r"`(test_\w+)`", CHECKLIST.read_text(encoding="utf-8")))
    written = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 50
    assert named - written == set()


def test_every_reliability_requirement_has_a_line():
    lines = re.findall(r"^\| (R\d+) \|", CHECKLIST.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(lines) == {f"R{number}" for number in range(1, 23)}
