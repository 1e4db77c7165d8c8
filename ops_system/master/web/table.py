"""The route table: checked once when it is built, asked for every request. Pure.

It refuses two routes with one meaning, so that a feature cannot shadow another one by accident.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote

from ops_system.master.web.route import Route

API_ROOT = "/api/v1"


class BrokenTable(Exception):
    """Two routes contradict each other, or one makes no sense: the program must not start."""


@dataclass(frozen=True, slots=True)
class Found:
    """The route that serves a request, and the values of its `{names}`."""

    route: Route
    params: dict[str, str]


@dataclass(frozen=True, slots=True)
class WrongMethod:
    """The path exists, but not for this method."""

    allowed: tuple[str, ...]


@dataclass(slots=True)
class _Spot:
    """One node of the path tree. A literal segment wins over a `{name}`."""

    literal: dict[str, "_Spot"] = field(default_factory=dict)
    any: "_Spot | None" = None
    routes: dict[str, tuple[Route, dict[str, int]]] = field(default_factory=dict)  # with the place of each name


def full_path(route: Route) -> str:
    """Return the path as it stands on the wire, e.g. `/api/v1/nodes/{id}`."""
    return route.path[1:] if route.path.startswith("!") else API_ROOT + route.path


def is_parameter(segment: str) -> bool:
    """True for a `{name}` segment."""
    return segment.startswith("{") and segment.endswith("}")


class Table:
    """All routes of one master. Raises `BrokenTable` when two share an operation id, or a method and path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes: tuple[Route, ...] = tuple(routes)
        self._root = _Spot()
        seen: dict[str, str] = {}
        for route in self.routes:
            where = f"{route.method} {full_path(route)}"
            if route.operation_id in seen:
                raise BrokenTable(f"operation id {route.operation_id}: both {seen[route.operation_id]} and {where}")
            seen[route.operation_id] = where
            self._add(route, where)

    def match(self, method: str, raw_path: str) -> Found | WrongMethod | None:
        """Find the route for a percent-encoded path. HEAD is served by the GET route."""
        segments = [unquote(part) for part in raw_path.split("/")[1:]]
        spot = _walk(self._root, segments, 0)
        if spot is None:
            return None
        wanted = "GET" if method == "HEAD" else method
        if wanted not in spot.routes:
            return WrongMethod(tuple(sorted(spot.routes)))
        route, places = spot.routes[wanted]
        return Found(route, {name: segments[place] for name, place in places.items()})

    def _add(self, route: Route, where: str) -> None:
        _check(route, where)
        spot, places = self._root, dict[str, int]()
        for place, segment in enumerate(full_path(route).split("/")[1:]):
            if is_parameter(segment):
                if segment[1:-1] in places:
                    raise BrokenTable(f"{where}: {segment} stands twice in the path")
                places[segment[1:-1]] = place
                spot.any = spot.any or _Spot()
                spot = spot.any
            else:
                spot = spot.literal.setdefault(segment, _Spot())
        if route.method in spot.routes:
            other = spot.routes[route.method][0].operation_id
            raise BrokenTable(f"{where}: served by both {other} and {route.operation_id}")
        spot.routes[route.method] = (route, places)


def _check(route: Route, where: str) -> None:
    if not route.path.startswith(("/", "!/")) or (route.path != "!/" and route.path.endswith("/")):
        raise BrokenTable(f"{where}: a path starts with a slash and does not end with one")
    if not route.permission:
        raise BrokenTable(f"{where}: no permission")
    if not route.operation_id or not route.summary:
        raise BrokenTable(f"{where}: an operation id and a summary are needed")
    if route.is_websocket and route.method != "GET":
        raise BrokenTable(f"{where}: a WebSocket is opened by GET")


def _walk(spot: _Spot, segments: list[str], index: int) -> _Spot | None:
    """Depth first, literal before parameter; an empty segment never fills a parameter."""
    if index == len(segments):
        return spot if spot.routes else None
    segment = segments[index]
    if (literal := spot.literal.get(segment)) is not None and (hit := _walk(literal, segments, index + 1)):
        return hit
    if spot.any is not None and segment:
        return _walk(spot.any, segments, index + 1)
    return None
