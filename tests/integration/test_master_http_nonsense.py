"""Whatever fits a schema, or nearly fits it, gets an answer in the product's words: no route answers 500."""

import json
import random

from yarl import URL

from tests.fakes.master import run_master

ROUNDS = 12
TEXTS = [
    "",
    "x",
    "web",
    "节点",
    "a" * 300,
    "../../etc/passwd",
    "\0",
    "😀",
    "1h",
    "10MB",
    "-1",
    "%s",
    "ops_",
    "' OR 1=1",
    "0",
]
NUMBERS = [0, 1, -1, 2**31, 2**63, 2**64, -(2**63) - 1, 0.5, 1e308]
ODD = [None, True, [], {}, "text", "\ud800", 7, [None], {"": None}]
SLOW_ON_PURPOSE = {  # they hash passwords or count failures
    "log_in",
    "complete_setup",
    "create_user",
    "change_user",
    "change_own_password",
    "step_up",
    "enrol_worker",
}


class Maker:
    """Values after a JSON schema, most of them fitting."""

    def __init__(self, document, seed: int) -> None:
        self._schemas = document["components"]["schemas"]
        self._dice = random.Random(seed)

    def text(self) -> str:
        return self._dice.choice(TEXTS)

    def is_chosen(self, share: float) -> bool:
        return self._dice.random() < share

    def value(self, schema, depth: int = 0):
        choices = schema.get("anyOf") or schema.get("oneOf")
        if self.is_chosen(0.06):
            made = self._dice.choice(ODD)
        elif "$ref" in schema:
            made = self.value(self._schemas[schema["$ref"].rpartition("/")[2]], depth + 1)
        elif choices:
            made = self.value(self._dice.choice(choices), depth + 1)
        elif "enum" in schema:
            made = self._dice.choice(schema["enum"])
        else:
            made = self._plain(schema, depth)
        return made

    def _plain(self, schema, depth: int):
        match schema.get("type"):
            case "object":
                return self._object(schema, depth)
            case "array":
                return [self.value(schema.get("items") or {}, depth + 1) for _ in range(self._dice.choice([0, 1, 3]))]
            case "integer" | "number":
                return self._dice.choice(NUMBERS)
            case "boolean":
                return self.is_chosen(0.5)
        return None if schema.get("type") == "null" else self.text()

    def _object(self, schema, depth: int):
        required = schema.get("required", [])
        fields = schema.get("properties", {}).items()
        made = {name: self.value(inner, depth + 1) for name, inner in fields if name in required or self.is_chosen(0.6)}
        if isinstance(schema.get("additionalProperties"), dict):
            made[self.text()] = self.value(schema["additionalProperties"], depth + 1)
        return made


def request_for(maker: Maker, path: str, operation, known_id: str):
    """Return path, query, headers and body of one try; most go to an object that exists."""
    parts = path.split("/")[1:]
    spelled = [(known_id if maker.is_chosen(0.6) else maker.text() or "x") if p.startswith("{") else p for p in parts]
    queries = [one["name"] for one in operation["parameters"] if one["in"] == "query"]
    query = {name: maker.text() for name in queries if maker.is_chosen(0.5)}
    headers, body = {}, None
    for media, described in operation.get("requestBody", {}).get("content", {}).items():
        is_json = media == "application/json"
        headers["Content-Type"] = media
        body = json.dumps(maker.value(described["schema"])).encode() if is_json else maker.text().encode()
    return URL("/").joinpath(*spelled).with_query(query), headers, body


async def test_no_route_answers_500(tmp_path):
    failures, statuses = [], set()
    async with run_master(tmp_path) as master, master.admin_client() as api:
        document = await api.get("/openapi.json")
        known_id = (await api.post("/systems", {"name": "shop"}))["id"]
        tries = [
            (path, method, operation, seed)
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
            for seed in range(ROUNDS)
            if operation["operationId"] not in SLOW_ON_PURPOSE and "x-websocket" not in operation
        ]
        for path, method, operation, seed in tries:
            address, headers, body = request_for(Maker(document, seed), path, operation, known_id)
            url = URL(master.url).join(address)
            async with api.session.request(method.upper(), url, data=body, headers=headers) as answer:
                text = await answer.text()
                statuses.add(answer.status)
                if answer.status >= 500 and path != "/health":
                    failures.append((method, str(address), seed, body, answer.status, text))
                elif answer.status >= 400:
                    told = {"code", "message", "error" if path.startswith("/v3/") else "details"}
                    assert set(json.loads(text)) == told, text
    assert failures == []
    assert {200, 201, 404, 409, 422} <= statuses  # the tries reached what lies behind the checks
