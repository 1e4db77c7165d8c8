"""A task that was planned before its image was uploaded: nobody approves nothing, and it gets what came since."""

import msgspec
import pytest

from ops_system.master.provisioning.shapes import NewApprovalRule, TaskOrder
from ops_system.model.errors import NotAllowed
from ops_system.model.tasks import ApproveCall, InstallSpec, TaskStatus
from tests.fakes.agents import PlayedAgent
from tests.fakes.control import ALICE, IMAGE, KEY, Catalogue, control_rig
from tests.fakes.provision import IDC, SN

ORDER = TaskOrder(IDC, SN, "00-1A-2B-3C-4D-5E", "Rocky Linux 9", "9")
CALL = ApproveCall(("DISK1",))


class Late(Catalogue):
    """Its one image comes when `has_image` is set."""

    has_image = False

    async def resolve(self, *args, **kwargs) -> InstallSpec:
        return msgspec.structs.replace(await super().resolve(*args, **kwargs), image=None)

    async def complete(self, spec: InstallSpec) -> InstallSpec:
        return msgspec.structs.replace(spec, image=IMAGE) if self.has_image else spec


@pytest.fixture
async def rig(tmp_path):
    async with control_rig(tmp_path) as control:
        control.tasks._catalogue = Late()
        await control.tasks.create(ORDER, ALICE)
        await PlayedAgent(control.agents, SN).report()
        yield control


async def test_it_is_not_approved_while_the_image_is_missing(rig):
    with pytest.raises(NotAllowed, match="lacks an image for Rocky Linux 9") as refused:
        await rig.tasks.approve(KEY, CALL, ALICE)
    assert refused.value.details["reason"] == "incomplete_install"
    assert (await rig.task()).status is TaskStatus.PENDING_APPROVAL


async def test_it_is_approved_with_the_image_that_came(rig):
    rig.tasks._catalogue.has_image = True
    approved = await rig.tasks.approve(KEY, CALL, ALICE)
    assert approved.status is TaskStatus.APPROVED
    assert (await rig.task()).install.image == IMAGE


async def test_no_rule_approves_it(rig):
    await rig.approvals.create_rule(NewApprovalRule("all", idc=IDC, max_uses=5), ALICE, "r1")
    await rig.settle()
    assert (await rig.task()).status is TaskStatus.PENDING_APPROVAL
    assert (await rig.approvals.get_rule("r1")).used == 0
