from types import SimpleNamespace

from ops_system.master.bus import Bus, Changed
from ops_system.master.gatekeeper import Gatekeeper, InstanceOwners
from ops_system.master.web.guard import ANONYMOUS, Credentials
from ops_system.master.web.route import Principal

NODE = Principal("node", "node_1", "w1")
PERSON = Principal("user", "usr_1", "ada")


class Auth:
    async def identify(self, credentials):
        return PERSON if credentials.bearer == "ops_x" or credentials.session == "s" else ANONYMOUS

    def setup_required(self):
        return False

    def verify_csrf(self, principal, token):
        return token == "csrf"

    def has_step_up(self, principal):
        return True


class Links:
    def session_principal(self, token):
        return NODE if token == "link" else None


async def test_workers_are_known_by_their_link_and_people_by_auth():
    keeper = Gatekeeper(Auth(), Links())

    async def who(bearer=None, session=None):
        return await keeper.identify(Credentials(bearer, session, "10.0.0.1"))

    assert await who(bearer="link") == NODE
    assert await who(bearer="other") == ANONYMOUS
    assert await who(bearer="ops_x") == PERSON
    assert await who(session="s") == PERSON
    assert await who(bearer="", session=None) == ANONYMOUS
    assert keeper.verify_csrf(PERSON, "csrf")


def test_an_instance_belongs_to_the_node_it_was_last_seen_on():
    bus = Bus()
    owners = InstanceOwners(bus, [SimpleNamespace(id="a", node_id="n1")])
    assert owners.owner_of("a") == "n1"
    assert owners.owner_of("b") is None
    bus.publish(Changed("instances", "b", SimpleNamespace(id="b", node_id="n2")))
    bus.publish(Changed("nodes", "c", SimpleNamespace(id="c", node_id="n3")))
    assert owners.owner_of("b") == "n2"
    assert owners.owner_of("c") is None
    bus.publish(Changed("instances", "a", None))
    assert owners.owner_of("a") is None
