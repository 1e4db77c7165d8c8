"""A distribution's own installer on a machine in QEMU: started by the agent, with what it carries, to its callback.

No mirror is reached from there: what the installer would do last is done as soon as it has read its answers.
"""

import re
import urllib.request

import pytest

from ops_system.master.images.builtins import BUILTINS
from ops_system.service.units import unit_name
from tests.fakes.debian import unpack
from tests.fakes.fleet import until
from tests.fakes.qemu import Metal
from tests.fakes.site import Site, why_not

pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(why_not()), reason=why_not()), pytest.mark.timeout(900)]
PACKAGE = "debian-installer-12-netboot-amd64"
IMAGES = "usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64"
LATE, EARLY = "d-i preseed/late_command string ", "d-i preseed/early_command string "


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Site(tmp_path_factory.mktemp("site")) as running:
        running.start()
        images = unpack((PACKAGE,), tmp_path_factory.mktemp("installer")) / IMAGES
        running.upload_image(images / "linux", name="d-i-linux", format="kernel")
        running.upload_image(images / "initrd.gz", name="d-i-initrd", format="initrd")
        yield running


def at_once(template: str) -> str:
    """Return a preseed whose last command is its first, and says that it is done only if the worker is in place."""
    template = re.sub(rf"^{EARLY}.*?\n", "", template, flags=re.MULTILINE)
    template = template.replace(LATE, f"{EARLY}mkdir -p /target/etc/network; ")
    wants = f"/target/etc/systemd/system/multi-user.target.wants/{unit_name('worker')}"
    token = "/target/etc/ops-worker/token"
    proof = f"test -x /target/opt/ops-worker/worker && test -s {token} && test -L {wants}"
    assert "in-target wget" in template
    say = 'wget -q -O /dev/null --post-data=x {{ (callback_url ~ "/disks") | shell }}'
    return template.replace("in-target wget", f"{say}; {proof} && wget")


def test_debians_own_installer_carries_the_worker(site, tmp_path):
    profile = {"name": "d-i", "os_type": "Debian", "os_version": "12", "method": "preseed"}
    profile |= {"kernel": "d-i-linux", "initrd": "d-i-initrd", "template": at_once(BUILTINS["preseed"])}
    site.post("/profiles", {**profile, "kernel_args": "console=ttyS0 DEBIAN_FRONTEND=text"})
    with Metal(tmp_path, "SN-DI", cable=site.cable(), memory_mib=1024) as metal:
        site.order(metal, profile="d-i")
        metal.power_on()
        site.wait_status(metal, "pending_approval")
        site.approve(metal, "DISK1")
        until(lambda: site.task(metal)["handed_over_at"], "the agent hands over", 180)
        with urllib.request.urlopen(f"{site.region_url}/preseed/{metal.sn}", timeout=20) as answer:
            assert "opsj1" not in answer.read().decode()
        done = site.wait_status(metal, "completed", "failed", "needs_operator", within_s=400)
        assert (done["status"], done["status_history"][-1]["by"]) == ("completed", f"installer:{metal.sn}")
        steps = [step["step"] for step in done["progress"]]
        assert steps == ["check-disks", "carry-worker", "start-installer", "installer"]
        assert done["intents"][0]["done_at"] is not None
        assert not any("opsj1" in line for line in done["logs"])
        assert metal.written_bytes("DISK1") == 0
