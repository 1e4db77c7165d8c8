"""The bill of materials names exactly what the lock files pin."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def sbom():
    spec = importlib.util.spec_from_file_location("sbom", ROOT / "packaging" / "sbom.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bill_holds_every_pinned_package_once_and_is_the_same_each_time(sbom, tmp_path):
    document = sbom.write(tmp_path / "dist" / "a.json")
    assert json.loads((tmp_path / "dist/a.json").read_text()) == document == sbom.write(tmp_path / "b.json")
    purls = [component["purl"] for component in document["components"]]
    assert len(set(purls)) == len(purls)
    pinned = re.findall(r"^([A-Za-z0-9._-]+)==", sbom.PYTHON_LOCK.read_text(), re.MULTILINE)
    assert len([purl for purl in purls if purl.startswith("pkg:pypi/")]) == len(pinned)
    assert any(purl.startswith("pkg:pypi/aiohttp@") for purl in purls)
    assert any(purl.startswith("pkg:npm/vue@") for purl in purls)
    assert not any(purl.startswith("pkg:npm/vitest@") for purl in purls)  # builds the console, is not in it
    assert document["dependencies"][0]["dependsOn"] == purls


def test_archives_and_hashes_are_carried_over(sbom):
    lock = "Aio_Http[speedups]==3.1 ; python_version > '3' \\\n    --hash=sha256:" + "ab" * 32 + "\n    # via x\n"
    (component,) = sbom.python_components(lock)
    assert (component["purl"], component["properties"][0]["value"]) == ("pkg:pypi/aio-http@3.1", "ab" * 32)
    npm = {
        "packages": {"": {}, "node_modules/@a/b": {"version": "1", "integrity": "sha512-AAAA md5-x", "license": "MIT"}}
    }
    (component,) = sbom.npm_components(npm)
    assert component["purl"] == "pkg:npm/%40a/b@1"
    assert component["hashes"] == [{"alg": "SHA-512", "content": "000000"}]
