"""Write the OpenAPI document and the Postman collection made from it; both come from the routes of a real master.

python packaging/export_api.py [--openapi FILE] [--postman FILE] [--check]
"""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from ops_system import __version__
from ops_system.master.app import open_master
from ops_system.master.config import SCHEMA as SETTINGS
from ops_system.master.web.openapi import build_document
from ops_system.runtime.config import build

ROOT = Path(__file__).resolve().parent.parent
OPENAPI = ROOT / "docs" / "openapi.json"
POSTMAN = ROOT / "docs" / "postman_collection.json"
SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"


def openapi_document() -> dict[str, Any]:
    """Return the document of a master with every feature, opened on an empty folder and served to nobody."""

    async def read(folder: str) -> dict[str, Any]:
        config = build(SETTINGS, {"server.data_dir": folder, "server.port": "0"})
        async with open_master(config) as master:
            return build_document(master.routes, __version__)

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(read(folder))


def postman_collection(document: dict[str, Any]) -> dict[str, Any]:
    """Return a Postman v2.1 collection: one folder per tag, one request per operation, bearer `{{token}}`."""
    folders: dict[str, list[dict[str, Any]]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            folders.setdefault(operation["tags"][0], []).append(_item(document, path, method, operation))
    return {
        "info": {"name": "ops-system", "schema": SCHEMA, "description": "Made from /api/v1/openapi.json."},
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{token}}", "type": "string"}]},
        "variable": [
            {"key": "base_url", "value": "http://127.0.0.1:8080"},
            {"key": "socket_url", "value": "ws://127.0.0.1:8080"},
            {"key": "token", "value": ""},
        ],
        "item": [{"name": tag, "item": items} for tag, items in sorted(folders.items())],
    }


def _item(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    request: dict[str, Any] = {
        "method": method.upper(),
        "description": f"{operation['summary']}. Permission: {operation['x-permission']}.",
        "header": [],
        "url": _url(path, operation, is_socket="x-websocket" in operation),
    }
    if operation.get("security") == [{}]:
        request["auth"] = {"type": "noauth"}
    content = operation.get("requestBody", {}).get("content", {})
    for media, described in content.items():
        request["header"].append({"key": "Content-Type", "value": media})
        request["body"] = _body(document, media, described["schema"])
    return {"name": operation["operationId"], "request": request}


def _url(path: str, operation: dict[str, Any], *, is_socket: bool) -> dict[str, Any]:
    spelled = [f":{part[1:-1]}" if part.startswith("{") else part for part in path.split("/")[1:]]
    base = "{{base_url}}"
    url: dict[str, Any] = {"raw": f"{base}/{'/'.join(spelled)}", "host": [base], "path": spelled}
    if is_socket:
        url["raw"] = url["raw"].replace(base, "{{socket_url}}")
        url["host"] = ["{{socket_url}}"]
    given = operation["parameters"]
    variables = [{"key": one["name"], "value": ""} for one in given if one["in"] == "path"]
    query = [
        {"key": one["name"], "value": str(one["schema"].get("default") or ""), "disabled": not one["required"]}
        for one in given
        if one["in"] == "query"
    ]
    return url | ({"variable": variables} if variables else {}) | ({"query": query} if query else {})


def _body(document: dict[str, Any], media: str, schema: dict[str, Any]) -> dict[str, Any]:
    if media != "application/json":
        return {"mode": "file", "file": {}}
    example = _example(document, schema, 0)
    text = json.dumps(example, indent=2, ensure_ascii=False)
    return {"mode": "raw", "raw": text, "options": {"raw": {"language": "json"}}}


_BLANKS: dict[str, Any] = {"array": [], "integer": 0, "number": 0, "boolean": False, "null": None}


def _example(document: dict[str, Any], schema: dict[str, Any], depth: int) -> Any:
    """Return a value of the schema's shape: defaults where there are some, required fields of inner objects."""
    choices = schema.get("anyOf") or schema.get("oneOf")
    if "$ref" in schema:
        inner = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    elif "default" not in schema and choices:
        inner = choices[0]
    elif schema.get("type") == "object" and "default" not in schema:
        names = schema.get("required", []) if depth > 1 else schema.get("properties", {})
        return {name: _example(document, schema["properties"][name], depth + 1) for name in names}
    else:
        blank = schema.get("enum", [_BLANKS.get(schema.get("type", ""), "")])[0]
        return schema.get("default", blank)
    return _example(document, inner, depth + 1)


def _write(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(spell(value), encoding="utf-8")
    print(f"wrote {path}")


def spell(value: dict[str, Any]) -> str:
    """Return the file's text."""
    return json.dumps(value, indent=1, ensure_ascii=False, sort_keys=False) + "\n"


def main() -> int:
    """Write the files; with --check compare the committed collection and leave it."""
    parser = argparse.ArgumentParser(description="Write the OpenAPI document and the Postman collection.")
    parser.add_argument("--openapi", type=Path, default=OPENAPI, help="where to write the OpenAPI document")
    parser.add_argument("--postman", type=Path, default=POSTMAN, help="where to write the collection")
    parser.add_argument("--check", action="store_true", help="leave the collection; exit 1 when it is stale")
    options = parser.parse_args()
    document = openapi_document()
    collection = postman_collection(document)
    _write(options.openapi, document)
    if options.check:
        is_fresh = options.postman.exists() and options.postman.read_text(encoding="utf-8") == spell(collection)
        print("fresh" if is_fresh else f"{options.postman} is stale: run {Path(__file__).name}")
        return 0 if is_fresh else 1
    _write(options.postman, collection)
    return 0


if __name__ == "__main__":
    sys.exit(main())
