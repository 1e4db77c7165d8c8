"""HTTP of publisher keys: parse, call, answer."""

from ops_system.master.publishers.rules import NewPublisherKey, PublisherKey
from ops_system.master.publishers.service import Publishers
from ops_system.master.web.route import Call, ListQuery, Nothing, Page, Permission, Route


def routes(service: Publishers) -> list[Route]:
    """Return the routes of `/publisher-keys`."""

    async def list_keys(call: Call) -> Page[PublisherKey]:
        return await service.list_page(call.query)

    async def add_key(call: Call) -> PublisherKey:
        return await service.add(call.body, call.principal)

    async def remove_key(call: Call) -> Nothing:
        await service.remove(call.params["id"], call.principal)
        return Nothing()

    return [
        Route(
            "GET",
            "/publisher-keys",
            Permission.ADMIN,
            list_keys,
            "List the publishers whose packages are trusted",
            "list_publisher_keys",
            answer=Page[PublisherKey],
            query=ListQuery,
            tag="packages",
            errors=("invalid",),
        ),
        Route(
            "POST",
            "/publisher-keys",
            Permission.ADMIN,
            add_key,
            "Trust a publisher's public key",
            "add_publisher_key",
            answer=PublisherKey,
            body=NewPublisherKey,
            status=201,
            needs_step_up=True,
            tag="packages",
            errors=("invalid", "conflict"),
        ),
        Route(
            "DELETE",
            "/publisher-keys/{id}",
            Permission.ADMIN,
            remove_key,
            "Trust a publisher's key no longer; packages that are here stay",
            "remove_publisher_key",
            needs_step_up=True,
            tag="packages",
            errors=("not_found",),
        ),
    ]
