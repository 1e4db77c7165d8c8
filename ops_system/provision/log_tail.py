"""The end of a task's log, which the task itself holds; what falls out of it goes into chunks. Pure."""

from datetime import datetime

from msgspec.structs import replace

from ops_system.model.tasks import LOG_TAIL_BYTES, LOG_TAIL_LINES, Task

LINE_BYTES = 2_048


def with_lines(task: Task, lines: tuple[str, ...], at: datetime) -> tuple[Task, tuple[str, ...]]:
    """Add lines to the log: the task with a bounded tail, and what fell out of it (the next chunk), oldest first.

    The tail is halved when it overflows, so that chunks are few and of some size.
    """
    if not lines:
        return task, ()
    kept = [*task.logs, *(_line(text) for text in lines)]
    if len(kept) <= LOG_TAIL_LINES and _size_bytes(kept) <= LOG_TAIL_BYTES:
        return replace(task, logs=tuple(kept), updated_at=at), ()
    spilled = 0
    left_bytes = _size_bytes(kept)
    while len(kept) - spilled > LOG_TAIL_LINES // 2 or left_bytes > LOG_TAIL_BYTES // 2:
        left_bytes -= len(kept[spilled].encode()) + 1
        spilled += 1
    tail = replace(task, logs=tuple(kept[spilled:]), log_chunks=task.log_chunks + 1, updated_at=at)
    return tail, tuple(kept[:spilled])


def _line(text: str) -> str:
    return text.encode(errors="replace")[:LINE_BYTES].decode(errors="ignore").replace("\0", "").rstrip("\r\n")


def _size_bytes(lines: list[str]) -> int:
    return sum(len(line.encode()) + 1 for line in lines)
