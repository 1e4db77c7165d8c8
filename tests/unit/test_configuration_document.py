"""docs/configuration.md names every key, default and flag that the programs take."""

from pathlib import Path

import pytest

from ops_system.master import config as master
from ops_system.regional import config as regional
from ops_system.worker import config as worker

TEXT = (Path(__file__).resolve().parents[2] / "docs/configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("option", [*master.OPTIONS, *worker.OPTIONS, *regional.OPTIONS], ids=lambda option: option.key)
def test_every_option_is_documented(option):
    default = option.default or "(empty)"
    flag = f"`-{option.flag}`" if option.flag else ""
    assert f"| `{option.key}` | `{default}` | {flag} |" in TEXT
