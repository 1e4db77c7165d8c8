"""From what people call things to the ids the master knows them by."""

import difflib
import re
from dataclasses import dataclass

from ops_system.client.connection import Master, fill
from ops_system.client.shapes import Json
from ops_system.client.words import Words
from ops_system.model.errors import NotFound, UsageError


@dataclass(frozen=True)
class Noun:
    """Where a kind of thing is listed, how its ids begin, and under which fields its names stand."""

    path: str
    prefix: str
    names: tuple[str, ...] = ("name",)
    shown: tuple[str, str] = ("", "")


NOUNS: dict[str, Noun] = {
    "NODE": Noun("/nodes", "node", ("name", "hostname"), ("node", "节点")),
    "SYSTEM": Noun("/systems", "sys", shown=("system", "系统")),
    "MODULE": Noun("/systems/{system}/modules", "mod", shown=("module", "模块")),
    "INSTANCE": Noun("/instances", "ins", shown=("instance", "实例")),
    "OPERATION": Noun("/operations", "op", (), ("operation", "操作")),
    "COMMAND": Noun("/saved-commands", "cmd", shown=("command", "命令")),
    "RULE": Noun("/alert-rules", "rul", shown=("rule", "规则")),
    "CHANNEL": Noun("/channels", "chn", shown=("channel", "渠道")),
    "SCHEDULE": Noun("/schedules", "sch", shown=("schedule", "计划")),
    "TEMPLATE": Noun("/config-templates", "tpl", shown=("template", "模板")),
    "USER": Noun("/users", "usr", ("username",), ("user", "用户")),
    "TOKEN": Noun("/tokens", "tok", shown=("token", "令牌")),
    "KEY": Noun("/publisher-keys", "pub", shown=("key", "密钥")),
}
_ID = re.compile(r"[a-z]+_[0-9a-hjkmnp-tv-z]{16}")


class Names:
    """Looks names up on one master, asking for each list at most once."""

    def __init__(self, master: Master, words: Words) -> None:
        self._master = master
        self._words = words
        self._lists: dict[str, list[Json]] = {}

    def id_of(self, noun: str, text: str) -> str:
        """Return the id of what `text` names; what is no noun of the table stays. Raises NotFound, UsageError."""
        known = NOUNS.get(noun)
        if known is None or not known.names or (_ID.fullmatch(text) and text.startswith(f"{known.prefix}_")):
            return text
        match noun:
            case "INSTANCE":
                return self._instance(text)
            case "MODULE":
                return self._module(text)
        return self._pick(noun, text, self.rows(known.path), known.names)

    def rows(self, path: str) -> list[Json]:
        """Return a list of the master."""
        if path not in self._lists:
            self._lists[path], _ = self._master.pages(path)
        return self._lists[path]

    def by_id(self, noun: str) -> dict[str, str]:
        """Return the names of everything of a noun by their ids."""
        known = NOUNS[noun]
        return {str(row["id"]): str(row[known.names[0]]) for row in self.rows(known.path)}

    def modules(self) -> dict[str, str]:
        """Return the ids of all modules by SYSTEM/NAME."""
        found = {}
        for system in self.rows("/systems"):
            for module in self.rows(fill(NOUNS["MODULE"].path, {"system": str(system["id"])})):
                found[f"{system['name']}/{module['name']}"] = str(module["id"])
        return found

    def instances(self) -> dict[str, list[str]]:
        """Return the ids of all instances by NAME@NODE."""
        nodes = self.by_id("NODE")
        found: dict[str, list[str]] = {}
        for row in self.rows("/instances"):
            name = f"{row['name']}@{nodes.get(str(row['node_id']), row['node_id'])}"
            found.setdefault(name, []).append(str(row["id"]))
        return found

    def _module(self, text: str) -> str:
        found = self.modules()
        if text in found:
            return found[text]
        alike = [id_ for name, id_ in found.items() if name.partition("/")[2] == text]
        return self._only("MODULE", text, alike, list(found))

    def _instance(self, text: str) -> str:
        found = self.instances()
        alike = found.get(text, [])
        if not alike and "@" not in text:
            alike = [id_ for name, ids in found.items() if name.partition("@")[0] == text for id_ in ids]
        return self._only("INSTANCE", text, alike, list(found))

    def _pick(self, noun: str, text: str, rows: list[Json], fields: tuple[str, ...]) -> str:
        for field in fields:
            alike = [str(row["id"]) for row in rows if row.get(field) == text or row.get("id") == text]
            if alike:
                return self._only(noun, text, alike, [])
        return self._only(noun, text, [], [str(row.get(fields[0], "")) for row in rows])

    def _only(self, noun: str, text: str, alike: list[str], known: list[str]) -> str:
        if len(alike) == 1:
            return alike[0]
        if alike:
            raise UsageError(self._words.say("name.several", name=text, ids=", ".join(alike)))
        close = difflib.get_close_matches(text, known, n=1, cutoff=0.5)
        hint = f'; did you mean "{close[0]}"?' if close else ""
        shown = NOUNS[noun].shown[self._words.language]
        raise NotFound(self._words.say("name.none", noun=shown, name=text, hint=hint))
