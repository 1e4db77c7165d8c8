import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from ops_system.installer.addresses import MAX_ADDRESSES, Address, Addresses
from ops_system.installer.region import Region
from ops_system.model.errors import Unavailable, UsageError
from ops_system.protocol.agent import NOT_ACTIVE, LeaseAnswer

ONE, TWO, THREE = "http://10.0.0.1:8081", "http://10.0.0.2:8081", "http://[fd00::3]:8081"


def urls(addresses):
    """Return the ring from where it stands."""
    found = []
    for _ in range(len(addresses)):
        found.append(addresses.now.url)
        addresses.go_on_from(addresses.now)
    return found


@pytest.mark.parametrize("wrong", ["", "https://10.0.0.1", "10.0.0.1:8081", "http://", "http://10.0.0.1:port"])
def test_what_is_no_address_is_refused(wrong):
    with pytest.raises(UsageError, match="http://HOST:8081"):
        Addresses([ONE, wrong])
    with pytest.raises(UsageError):
        Addresses([])


def test_the_ring_goes_round_and_keeps_its_order():
    addresses = Addresses([ONE, TWO, THREE, ONE])
    assert urls(addresses) == [ONE, TWO, THREE]
    assert addresses.now.url == ONE


def test_of_those_who_fail_together_only_the_first_goes_on():
    addresses = Addresses([ONE, TWO, THREE])
    failed = addresses.now
    for _ in range(5):
        addresses.go_on_from(failed)
    assert addresses.now.url == TWO


def test_one_address_alone_stays():
    addresses = Addresses([ONE])
    addresses.go_on_from(addresses.now)
    assert addresses.now == Address("10.0.0.1", 8081)


def test_what_is_told_comes_before_the_boot_line_and_never_takes_away_what_is_in_use():
    addresses = Addresses([ONE])
    addresses.learn([ONE, TWO])
    assert urls(addresses) == [ONE, TWO]
    addresses.go_on_from(addresses.now)
    addresses.learn([THREE])
    assert urls(addresses) == [TWO, THREE, ONE]
    assert Address("fd00::3", 8081) in addresses


def test_what_is_told_is_judged_and_bounded():
    addresses = Addresses([ONE])
    addresses.learn(["https://10.0.0.9", "http://[broken", "", *(f"http://10.1.0.{n}" for n in range(50))])
    assert len(addresses) == MAX_ADDRESSES
    assert addresses.now.url == ONE


class Server:
    """Answers every call alike, and counts them."""

    def __init__(self, status, body):
        self.calls = 0
        outer, raw = self, msgspec.json.encode(body)

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                outer.calls += 1
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def ask(region):
    return region.call("/api/v1/lease", LeaseAnswer(1, 1), LeaseAnswer)


def standby():
    return Server(503, {"code": "unavailable", "message": "another serves", "details": {"reason": NOT_ACTIVE}})


def test_a_call_goes_from_one_that_stands_by_to_one_that_serves():
    with standby() as other, Server(200, LeaseAnswer(30, 7)) as active:
        region = Region(other.url, active.url)
        with pytest.raises(Unavailable):
            ask(region)
        assert [ask(region).fence, ask(region).fence] == [7, 7]
        assert (other.calls, active.calls) == (1, 2)


def test_a_call_goes_from_one_that_is_not_heard_to_the_next():
    with Server(200, LeaseAnswer(30, 7)) as gone:
        pass
    with Server(200, LeaseAnswer(30, 7)) as active:
        region = Region(gone.url, active.url)
        with pytest.raises(Unavailable, match=f"{gone.url}/api/v1/lease is not answered"):
            ask(region)
        assert ask(region).fence == 7


def test_one_that_is_cut_off_from_its_store_is_asked_again_not_left():
    cut_off = {"code": "unavailable", "message": "ask again", "details": {"reason": "cut_off"}}
    with Server(503, cut_off) as active, standby() as other:
        region = Region(active.url, other.url)
        for _ in range(3):
            with pytest.raises(Unavailable, match="ask again"):
                ask(region)
        assert (active.calls, other.calls) == (3, 0)
