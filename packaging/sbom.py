"""Write the software bill of materials of a build: dist/sbom.cdx.json, CycloneDX 1.5.

Python from requirements.lock (names, versions, hashes: what is installed), the console's parts from its npm lock file.
Needs no network and no tool beside Python.

python packaging/sbom.py [-o FILE]
"""

import argparse
import base64
import binascii
import json
import re
import sys
import uuid
from pathlib import Path
from typing import Any

from ops_system import __version__

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "dist" / "sbom.cdx.json"
PYTHON_LOCK = ROOT / "requirements.lock"
NPM_LOCK = ROOT / "frontend" / "package-lock.json"

_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?==(?P<version>[^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:(?P<sha256>[0-9a-f]{64})")
_ALGORITHMS = {"sha512": "SHA-512", "sha384": "SHA-384", "sha256": "SHA-256", "sha1": "SHA-1"}


def python_components(lock: str) -> list[dict[str, Any]]:
    """Return one component for each pinned line of a pip lock file, with the hashes of its archives as properties."""
    found: list[dict[str, Any]] = []
    for line in lock.splitlines():
        if pinned := _PINNED.match(line):
            name, version = pinned["name"].lower().replace("_", "-"), pinned["version"]
            purl = f"pkg:pypi/{name}@{version}"
            found.append(_component(name, version, purl))
        elif (digest := _HASH.search(line)) and found:
            archive = {"name": "ops-system:archive-sha256", "value": digest["sha256"]}
            found[-1].setdefault("properties", []).append(archive)
    return found


def npm_components(lock: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one component for each package that goes into the console; what only builds it is left out."""
    found: dict[str, dict[str, Any]] = {}
    for path, package in lock["packages"].items():
        if not path or package.get("dev") or package.get("link"):
            continue
        name = path.rpartition("node_modules/")[2]
        purl = f"pkg:npm/{name.replace('@', '%40')}@{package['version']}"
        found[purl] = _component(name, package["version"], purl)
        if isinstance(package.get("license"), str):
            found[purl]["licenses"] = [{"expression": package["license"]}]
        if hashes := list(_integrity(package.get("integrity", ""))):
            found[purl]["hashes"] = hashes
    return list(found.values())


def bill(components: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the document. The same components give the same bytes: its serial number is made from them."""
    ordered = sorted(components, key=lambda component: component["purl"])
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([__version__, ordered], sort_keys=True))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "ops-system",
                "name": "ops-system",
                "version": __version__,
                "licenses": [{"license": {"id": "MIT"}}],
            }
        },
        "components": ordered,
        "dependencies": [{"ref": "ops-system", "dependsOn": [component["bom-ref"] for component in ordered]}],
    }


def write(target: Path) -> dict[str, Any]:
    """Write the bill to `target` and return it."""
    components = python_components(PYTHON_LOCK.read_text(encoding="utf-8"))
    components += npm_components(json.loads(NPM_LOCK.read_text(encoding="utf-8")))
    document = bill(components)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return document


def _component(name: str, version: str, purl: str) -> dict[str, Any]:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _integrity(text: str) -> list[dict[str, str]]:
    """Turn npm's `sha512-BASE64` (Subresource Integrity) into CycloneDX hashes."""
    hashes = []
    for word in text.split():
        algorithm, _, digest = word.partition("-")
        try:
            hashes.append({"alg": _ALGORITHMS[algorithm], "content": base64.b64decode(digest, validate=True).hex()})
        except (KeyError, binascii.Error):
            continue
    return hashes


def main() -> int:
    """Write the bill and say what is in it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", type=Path, default=TARGET, metavar="FILE")
    target = parser.parse_args().o
    print(f"{target}  {len(write(target)['components'])} components")
    return 0


if __name__ == "__main__":
    sys.exit(main())
