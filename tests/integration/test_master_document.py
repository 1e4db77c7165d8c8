"""The committed Postman collection is the one the route table makes now."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def exporter():
    spec = importlib.util.spec_from_file_location("export_api", ROOT / "packaging" / "export_api.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_collection_is_fresh(exporter):
    document = exporter.openapi_document()
    collection = exporter.postman_collection(document)
    assert exporter.POSTMAN.read_text(encoding="utf-8") == exporter.spell(collection), "run `make api-docs`"
    requests = [item["request"] for folder in collection["item"] for item in folder["item"]]
    assert len(requests) == sum(len(methods) for methods in document["paths"].values())
    for request in requests:
        if request.get("body", {}).get("mode") == "raw":
            json.loads(request["body"]["raw"])
