"""What goes wrong with a bare machine, and that nothing is written then: power cuts, damaged images. No root."""

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


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Site(tmp_path_factory.mktemp("site")) as running:
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
