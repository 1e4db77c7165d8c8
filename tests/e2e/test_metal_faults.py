"""What goes wrong with a bare machine, and that nothing is written then: power cuts, dead agents, damaged images. No root."""

import pytest

from tests.fakes.fleet import until
from tests.fakes.qemu import MIB, Metal
from tests.fakes.site import Site, why_not

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.timeout(900),
]
FIRST_BLOCK_BYTES = 4 * MIB  # what the agent writes last, when everything else was right
KERNEL_WORDS = "console=tty0 console=ttyS0,115200 sysrq_always_enabled"  # for `Metal.kill_programs`


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Site(tmp_path_factory.mktemp("site"), settings={"OPS_REGIONAL_BOOT_KERNEL_ARGS": KERNEL_WORDS}) as running:
        running.start()
        yield running


def approved(site, metal):
    """Bring a machine to where it writes."""
    site.order(metal)
    metal.power_on()
    site.wait_status(metal, "pending_approval")
    assert metal.written_bytes("DISK1") == 0
    site.approve(metal, "DISK1")


def test_a_power_cut_while_the_disk_is_written_never_wipes_twice(site, tmp_path):
    with Metal(tmp_path, "SN-CUT", cable=site.cable(), mac="52:54:00:00:02:01") as metal:
        approved(site, metal)
        until(lambda: metal.written_bytes("DISK1") > 16 * MIB, "the image is being written", 120)
        metal.cut_power()
        metal.console.mark()
        metal.power_on()
        stopped = site.wait_status(metal, "needs_operator")
        assert [intent["step"] for intent in stopped["intents"] if not intent.get("done_at")] == ["write-image"]
        assert metal.written_bytes("DISK1") == 0
        # Somebody tries again: the machine is asked for once more, and waits for a new approval.
        assert site.act(metal, "retry", reason="power was cut")["status"] == "pending"
        metal.console.mark()
        metal.reset()
        again = site.wait_status(metal, "pending_approval")
        assert again["attempt"] == 2
        assert metal.written_bytes("DISK1") == 0


def test_an_agent_killed_while_it_writes_never_writes_on(site, tmp_path):
    """The machine goes on and starts its agent again: nothing is written before somebody has approved it anew."""
    with Metal(tmp_path, "SN-KILL", cable=site.cable(), mac="52:54:00:00:02:03") as metal:
        approved(site, metal)
        until(lambda: metal.written_bytes("DISK1") > 16 * MIB, "the image is being written", 120)
        metal.kill_programs()
        metal.console.wait_for("the agent ended with 137; it is started again")
        written = metal.written_bytes("DISK1")
        assert written < site.image.content_bytes
        stopped = site.wait_status(metal, "needs_operator")
        assert stopped["reason"]["code"] in {"agent_gone", "interrupted"}
        assert [intent["step"] for intent in stopped["intents"] if not intent.get("done_at")] == ["write-image"]
        assert site.act(metal, "retry", reason="the agent was killed")["status"] == "pending"
        again = site.wait_status(metal, "pending_approval")  # the agent that was started again has reported
        assert (again["attempt"], again.get("approval")) == (2, None)
        assert metal.written_bytes("DISK1") == written

        site.approve(metal, "DISK1")
        site.wait_status(metal, "completed")
        assert metal.written_bytes("DISK1") - written >= site.image.content_bytes
        assert metal.console.text().count("init: address ") == 1  # one boot from beginning to end


def test_a_damaged_image_leaves_nothing_that_boots(site, tmp_path):
    with Metal(tmp_path, "SN-BAD", cable=site.cable(), mac="52:54:00:00:02:02") as metal:
        site.order(metal)
        cached = site.folder / "region" / "images" / site.get("/images")["items"][0]["sha256"]
        until(cached.is_file, "the region has the image", 60)
        metal.power_on()
        site.wait_status(metal, "pending_approval")
        whole = cached.read_bytes()
        try:
            middle = len(whole) // 2
            cached.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
            site.approve(metal, "DISK1")
            failed = site.wait_status(metal, "failed", "needs_operator", "completed")
        finally:
            cached.write_bytes(whole)
        assert failed["reason"]["code"] in {"checksum_mismatch", "image_damaged"}
        with metal.disks["DISK1"].open("rb") as disk:
            assert disk.read(FIRST_BLOCK_BYTES) == bytes(FIRST_BLOCK_BYTES)
