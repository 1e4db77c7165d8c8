"""HTTP of channels: parse, call, answer. Secrets, and URLs that hold tokens, come in and never go out."""

from ops_system.master.channels.rules import Channel, ChannelPatch, Delivery, DeliveryQuery, NewChannel
from ops_system.master.channels.service import Channels
from ops_system.master.web.route import Call, ListQuery, Nothing, Page, Permission, Route


def routes(service: Channels) -> list[Route]:
    """Return the routes of `/channels`."""

    async def list_channels(call: Call) -> Page[Channel]:
        return await service.list_page(call.query)

    async def create_channel(call: Call) -> Channel:
        return await service.create(call.body, call.principal)

    async def get_channel(call: Call) -> Channel:
        return await service.get(call.params["id"])

    async def patch_channel(call: Call) -> Channel:
        return await service.change(call.params["id"], call.body, call.principal)

    async def delete_channel(call: Call) -> Nothing:
        await service.delete(call.params["id"], call.principal)
        return Nothing()

    async def test_channel(call: Call) -> Delivery:
        return await service.test(call.params["id"], call.principal)

    async def list_deliveries(call: Call) -> Page[Delivery]:
        return await service.list_deliveries(call.params["id"], call.query)

    return [
        Route(
            "GET",
            "/channels",
            Permission.ADMIN,
            list_channels,
            "List channels, each with its last delivery",
            "list_channels",
            answer=Page[Channel],
            query=ListQuery,
            errors=("invalid",),
        ),
        Route(
            "POST",
            "/channels",
            Permission.ADMIN,
            create_channel,
            "Make a channel: where notices of trouble go",
            "create_channel",
            answer=Channel,
            body=NewChannel,
            status=201,
            needs_step_up=True,
            errors=("invalid", "conflict", "not_allowed"),
        ),
        Route(
            "GET",
            "/channels/{id}",
            Permission.ADMIN,
            get_channel,
            "Show one channel, without its secrets",
            "get_channel",
            answer=Channel,
            errors=("not_found",),
        ),
        Route(
            "PATCH",
            "/channels/{id}",
            Permission.ADMIN,
            patch_channel,
            "Change a channel; secrets that are not named stay",
            "patch_channel",
            answer=Channel,
            body=ChannelPatch,
            needs_step_up=True,
            errors=("not_found", "invalid", "conflict"),
        ),
        Route(
            "DELETE",
            "/channels/{id}",
            Permission.ADMIN,
            delete_channel,
            "Delete a channel with its log",
            "delete_channel",
            needs_step_up=True,
            errors=("not_found",),
        ),
        Route(
            "POST",
            "/channels/{id}/test",
            Permission.ADMIN,
            test_channel,
            "Send a test message now, once; the answer tells how it went",
            "test_channel",
            answer=Delivery,
            errors=("not_found",),
        ),
        Route(
            "GET",
            "/channels/{id}/deliveries",
            Permission.ADMIN,
            list_deliveries,
            "List what was sent by a channel, or is to be, the newest first",
            "list_channel_deliveries",
            answer=Page[Delivery],
            query=DeliveryQuery,
            errors=("not_found", "invalid"),
        ),
    ]
