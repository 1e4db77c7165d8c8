import msgspec
import pytest

from ops_system.master.systems.rules import ModulePatch, NewModule, NewSystem, SystemPatch
from ops_system.master.web.route import ListQuery
from ops_system.model.errors import Conflict, Invalid, NotAllowed, NotFound
from ops_system.model.manifest import HealthOverride
from tests.fakes.orchestration import ANN, open_desk


@pytest.fixture
async def desk(tmp_path):
    async with open_desk(tmp_path) as desk:
        yield desk


async def test_systems_have_names_of_their_own(desk):
    shop = await desk.systems.create_system(NewSystem("shop", "sells"), ANN)
    with pytest.raises(Conflict, match="shop"):
        await desk.systems.create_system(NewSystem("shop"), ANN)
    other = await desk.systems.create_system(NewSystem("other"), ANN)
    with pytest.raises(Conflict):
        await desk.systems.patch_system(other.id, SystemPatch(name="shop"), ANN)
    renamed = await desk.systems.patch_system(shop.id, SystemPatch(name="store"), ANN)
    assert (renamed.name, renamed.description) == ("store", "sells")
    page = await desk.systems.list_systems(ListQuery(sort="-name"))
    assert [one.name for one in page.items] == ["store", "other"]
    await desk.systems.delete_system(shop.id, ANN)
    with pytest.raises(NotFound):
        await desk.systems.get_system(shop.id)


async def test_a_module_is_checked_with_its_package(desk):
    system = await desk.system()
    with pytest.raises(Invalid, match="upload it first"):
        await desk.module(system, "web")
    await desk.upload("web", ports={"http": 8080})
    with pytest.raises(Invalid) as caught:
        await desk.module(system, "web", ports={"http": 99999}, health=HealthOverride(interval="soon"))
    assert len(caught.value.details["problems"]) == 2
    module_id = await desk.module(system, "web", env={"A": "1"}, health=HealthOverride(interval="5s"))
    module = await desk.systems.get_module(module_id)
    assert module.health == HealthOverride(interval="5s")
    assert msgspec.json.decode(msgspec.json.encode(module))["health"] == {"interval": "5s"}
    with pytest.raises(Conflict):
        await desk.module(system, "web")
    assert (await desk.systems.get_system(system)).modules == 1


async def test_dependencies_stay_in_the_system_and_free_of_circles(desk):
    system, other = await desk.system(), await desk.system("other")
    await desk.upload("web")
    db = await desk.module(system, "db", package="web")
    app = await desk.module(system, "app", package="web", depends_on=("db",))
    assert (await desk.systems.get_module(app)).depends_on == (db,)
    with pytest.raises(Invalid, match="circle"):
        await desk.systems.patch_module(db, ModulePatch(depends_on=("app",)), ANN)
    with pytest.raises(Invalid, match="no module"):
        await desk.systems.create_module(other, NewModule("x", "web", "1.0", depends_on=(db,)), ANN)
    with pytest.raises(NotAllowed, match="depend"):
        await desk.systems.delete_module(db, ANN)
    page = await desk.systems.list_module_page(system, ListQuery(q="ap"))
    assert [one.name for one in page.items] == ["app"]
    await desk.systems.delete_module(app, ANN)
    await desk.systems.delete_module(db, ANN)
    await desk.packages.delete("web", "1.0", ANN)
