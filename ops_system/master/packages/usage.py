"""Who needs which version of a package. The features above register their questions; deletions and people ask here."""

from collections.abc import Awaitable, Callable

from ops_system.master.packages.rules import PackageUsage, PackageUser
from ops_system.master.web.route import Principal
from ops_system.model.errors import NotAllowed
from ops_system.storage.database import Queries

UsageQuestion = Callable[[Queries, str, str], Awaitable[list[PackageUser]]]
"""Who uses package `name`, `version`; empty when nobody does."""

_SHOWN = 5
_TOLD = 100


class Usage:
    """The questions, and whom a principal may be told of."""

    def __init__(self) -> None:
        self._users: list[UsageQuestion] = []
        self._returns: list[UsageQuestion] = []
        self._sees: Callable[[Principal, PackageUser], bool] = lambda _principal, _user: True

    def ask_before_delete(self, question: UsageQuestion) -> None:
        """Refuse deletions while `question` names users of the version."""
        self._users.append(question)

    def ask_before_retention(self, question: UsageQuestion) -> None:
        """Let retention spare what `question` names as well: what could be wanted back. A person may delete it."""
        self._returns.append(question)

    def limit(self, sees: Callable[[Principal, PackageUser], bool]) -> None:
        """Ask here which users a principal is shown."""
        self._sees = sees

    async def show(self, reader: Queries, name: str, version: str, principal: Principal) -> PackageUsage:
        """Return who uses a version, as far as `principal` sees."""
        users = await self._ask(reader, name, version, [*self._users, *self._returns])
        users = list(dict.fromkeys(users))
        seen = [user for user in users if self._sees(principal, user)]
        nodes = {user.node_id for user in seen if user.node_id is not None}
        return PackageUsage(seen, len(nodes), len(users) - len(seen))

    async def check_unused(self, reader: Queries, name: str, version: str) -> None:
        """Raise `NotAllowed` that names users."""
        users = [user.spell() for user in await self._ask(reader, name, version, self._users)]
        if users:
            shown = ", ".join(users[:_SHOWN]) + (" and more" if len(users) > _SHOWN else "")
            raise NotAllowed(f"package {name} {version} is used by {shown}; remove these first", users=users[:_TOLD])

    async def is_needed(self, reader: Queries, name: str, version: str) -> bool:
        """Whether retention must spare a version."""
        for question in (*self._users, *self._returns):
            if await question(reader, name, version):
                return True
        return False

    async def _ask(self, reader: Queries, name: str, version: str, questions: list[UsageQuestion]) -> list[PackageUser]:
        return [user for question in questions for user in await question(reader, name, version)]
