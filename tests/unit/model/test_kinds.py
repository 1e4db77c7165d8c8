"""What a person writes for a value, and what it becomes."""

import pytest

from ops_system.model.errors import Invalid
from ops_system.model.kinds import LABELS, PORT, SECRET, URL, Secret, choice, duration, integer


@pytest.mark.parametrize("kind", [integer(1, 5), duration(1), LABELS, URL, choice("a")])
def test_kinds_refuse_what_they_do_not_mean(kind):
    with pytest.raises(Invalid):
        kind.read("0x")


def test_kinds_read():
    assert LABELS.read("zone=a, disk=ssd,empty=") == {"zone": "a", "disk": "ssd", "empty": ""}
    assert URL.read("https://h:8443/") == "https://h:8443"
    assert PORT.read(":8080") == 8080
    assert integer(1, 5).read("5") == 5


@pytest.mark.parametrize("url", ["h:8443", "ftp://h", "http://", "https://user:pw@h"])
def test_url_error_never_repeats_the_text(url):
    with pytest.raises(Invalid) as caught:
        URL.read(url)
    assert "pw" not in caught.value.message


def test_a_secret_hides_itself():
    secret = SECRET.read("hunter2")
    assert isinstance(secret, Secret)
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2")
    assert not Secret("")
