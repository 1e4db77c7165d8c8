"""Renders the texts that installers are told what to do by: a small, bounded part of Jinja's language in its sandbox.

Used by regions to serve and by the master to preview and check. Templates are written by administrators and rendered
with what strange machines report, so neither side is trusted: no calls, no attributes of Python objects, no macros, no
includes; every text, loop and the whole work have an end.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, meta, nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.runtime import LoopContext
from jinja2.sandbox import SandboxedEnvironment
from jinja2.visitor import NodeTransformer

from ops_system.model.errors import Invalid
from ops_system.provision.filters import FILTERS, MAX_TEXT_CHARS, Filter, TooMuch

MAX_SOURCE_CHARS, MAX_OUTPUT_CHARS = 64 * 1024, 256 * 1024
MAX_STEPS = 20_000  # turns of loops and uses of filters in one rendering
MAX_TIME_S = 1.0
_BIGGEST = 2**53
_MAX_SHOWN = 300

_ALLOWED: Final = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.Tuple,
    nodes.List,
    nodes.Concat,
    nodes.CondExpr,
    nodes.Filter,
    nodes.Keyword,
    nodes.Test,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Slice,
    nodes.For,
    nodes.If,
    nodes.Assign,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Neg,
    nodes.Add,
    nodes.Sub,
    nodes.Mul,
    nodes.FloorDiv,
    nodes.Mod,
)
_LOOP_NAMES: Final = frozenset({"index", "index0", "revindex", "revindex0", "first", "last", "length"})
_BROKEN: Final = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,  # what the compiler of Python raises for too deep a nest
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
)


class TemplateProblem(msgspec.Struct, frozen=True):
    """What is wrong with a template; `line` 0 where the whole is meant."""

    line: int
    message: str


def render(text: str, values: Mapping[str, object], *, now: Callable[[], float] = time.monotonic) -> str:
    """Return the text with its placeholders filled. Raises Invalid: line and reason.

    Takes up to a second: call it in a thread where others wait.
    """
    sandbox = _Sandbox(now)
    try:
        template = sandbox.from_string(_safe_tree(sandbox, text))
        return _gather(template.generate(dict(values)))
    except _BROKEN as error:
        raise _refusal(_problem(error)) from error


def check(text: str, names: Iterable[str] = ()) -> tuple[TemplateProblem, ...]:
    """Return what keeps a template from being rendered; with `names`, also placeholders that nothing fills."""
    sandbox = _Sandbox(time.monotonic)
    try:
        tree = _safe_tree(sandbox, text)
        unknown = sorted(meta.find_undeclared_variables(tree) - set(names)) if names else []
        sandbox.compile(tree)
    except _BROKEN as error:
        return (_problem(error),)
    return tuple(TemplateProblem(_line_of(text, name), f"nothing fills {name!r}") for name in unknown)


def _gather(pieces: Iterable[str]) -> str:
    found, size = [], 0
    for piece in pieces:
        size += len(piece)
        if size > MAX_OUTPUT_CHARS:
            raise TooMuch(f"the rendered text has more than {MAX_OUTPUT_CHARS} characters")
        found.append(piece)
    return "".join(found)


def _safe_tree(sandbox: "_Sandbox", text: str) -> nodes.Template:
    """Parse, refuse what is not of the small language, and bound what is. Raises TemplateSyntaxError, TooMuch."""
    if len(text) > MAX_SOURCE_CHARS:
        raise TooMuch(f"the template has more than {MAX_SOURCE_CHARS} characters")
    tree = sandbox.parse(text)
    for node in _walk(tree):
        _check_node(node)
    return _Bounded().visit(tree)  # type: ignore[no-any-return]


def _walk(tree: nodes.Node) -> Iterator[nodes.Node]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.iter_child_nodes())


def _check_node(node: nodes.Node) -> None:
    if not isinstance(node, _ALLOWED):
        raise TemplateSyntaxError(f"{type(node).__name__.lower()} is not part of this language", node.lineno)
    if isinstance(node, nodes.For) and node.recursive:
        raise TemplateSyntaxError("recursive loops are not part of this language", node.lineno)
    if isinstance(node, nodes.Filter) and (node.name not in FILTERS or node.node is None):
        known = ", ".join(sorted(FILTERS))
        raise TemplateSyntaxError(f"there is no filter {node.name!r}; use one of {known}", node.lineno)
    if isinstance(node, nodes.Name) and node.name.startswith("_"):
        raise TemplateSyntaxError(f"{node.name!r}: names do not begin with an underscore", node.lineno)


class _Bounded(NodeTransformer):
    """Lets loops count their turns, texts put together by `~` be measured, and lists hold no lists.

    A list of the same list twice, and of that one twice, …, would be endless to whoever walks or compares it.
    """

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - the name is Jinja's
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, "turns", [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - the name is Jinja's
        self.generic_visit(node)
        parts = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(parts, "join", [nodes.Const("")], [], None, None, lineno=node.lineno)

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802 - the name is Jinja's
        self.generic_visit(node)
        return nodes.Filter(node, "flat", [], [], None, None, lineno=node.lineno)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802 - the name is Jinja's
        self.generic_visit(node)
        if node.ctx != "load":  # the names of a loop
            return node
        return nodes.Filter(node, "flat", [], [], None, None, lineno=node.lineno)


class _Sandbox(SandboxedEnvironment):
    """One rendering: what a template may touch, and how much of it."""

    intercepted_binops = frozenset({"+", "-", "*", "//", "%", "/", "**"})

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(
            undefined=StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            cache_size=0,
            finalize=_printed,
        )
        self._now = now
        self._end = now() + MAX_TIME_S
        self._steps = 0
        self.globals.clear()
        self.filters.clear()
        self.filters.update({name: self._stepping(made) for name, made in FILTERS.items()})
        self.filters["turns"] = self._turns
        self.filters["flat"] = _flat

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return a value of a mapping, or what a loop tells of itself; there are no other attributes."""
        if isinstance(obj, Mapping):
            return self.getitem(obj, attribute)
        if isinstance(obj, LoopContext) and attribute in _LOOP_NAMES:
            return getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return an item of a mapping, list or text."""
        if not isinstance(obj, Mapping | list | tuple | str):
            return self.undefined(obj=obj, name=argument)
        try:
            return obj[argument]
        except (LookupError, TypeError):
            return self.undefined(obj=obj, name=argument)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:  # noqa: ARG002 - Jinja's shape
        """Add and multiply numbers that stay small, and put texts together that stay short."""
        self.step()
        if operator == "+" and isinstance(left, str) and isinstance(right, str):
            if len(left) + len(right) > MAX_TEXT_CHARS:
                raise TooMuch(f"a text grew beyond {MAX_TEXT_CHARS} characters")
            return left + right
        if not (isinstance(left, int) and isinstance(right, int)):
            raise SecurityError(f"{operator} is for whole numbers here; write texts side by side or with ~")
        found = self.binop_table[operator](left, right)
        if abs(found) > _BIGGEST:
            raise TooMuch("a number grew too large")
        return found

    def step(self) -> None:
        """Count one piece of work. Raises TooMuch."""
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise TooMuch(f"more than {MAX_STEPS} turns of loops and uses of filters")
        if self._now() > self._end:
            raise TooMuch(f"rendering took more than {MAX_TIME_S:g} s")

    def _turns(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.step()
            yield item

    def _stepping(self, made: Filter) -> Filter:
        def stepped(*arguments: Any, **named: Any) -> Any:
            self.step()
            return made(*arguments, **named)

        return stepped


def _flat(values: Any) -> Any:
    if any(isinstance(value, Mapping | list | tuple) for value in values):
        raise SecurityError("a list in a template holds texts and numbers, no lists")
    return values


def _printed(value: Any) -> Any:
    """Return what stands in the text for a value. Raises for lists and mappings: they were to be looped over."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float | Undefined):
        return value
    raise SecurityError("a list or mapping cannot be printed: loop over it, or use |join(' ') or |json")


def _problem(error: Exception) -> TemplateProblem:
    line = getattr(error, "lineno", None) or _line_in_traceback(error)
    if isinstance(error, RecursionError):
        return TemplateProblem(line, "nested too deeply")
    words = error.message if isinstance(error, TemplateError) else str(error)
    return TemplateProblem(line, (words or type(error).__name__)[:_MAX_SHOWN])


def _line_in_traceback(error: Exception) -> int:
    """Return the template's line that was being rendered: Jinja puts it into the traceback."""
    line, frame = 0, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == "<template>":
            line = frame.tb_lineno
        frame = frame.tb_next
    return line


def _line_of(text: str, name: str) -> int:
    before, found, _ = text.partition(name)
    return before.count("\n") + 1 if found else 0


def _refusal(problem: TemplateProblem) -> Invalid:
    where = f"line {problem.line}: " if problem.line else ""
    return Invalid(
        f"the template cannot be rendered: {where}{problem.message}",
        problems=[f"$.template: {where}{problem.message}"],
        line=problem.line,
    )
