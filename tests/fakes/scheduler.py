"""Which tests of a run in several processes go together (pytest-xdist)."""

from xdist.scheduler import LoadFileScheduling


class Scheduler(LoadFileScheduling):
    """The tests of a file stay in one process; so do all that need the one Wine lane."""

    def _split_scope(self, nodeid: str) -> str:
        return "tests/wine" if nodeid.startswith("tests/wine/") else super()._split_scope(nodeid)
