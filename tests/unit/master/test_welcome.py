import pytest

from ops_system.master.welcome import Ready, has_desktop, speaks_chinese, welcome_text

FIRST = Ready("http://127.0.0.1:8080", "", "abcd-1234", "/srv/data")
LATER = Ready("http://127.0.0.1:8080", "https://ops:8443", "", "/srv/data")


@pytest.mark.parametrize("is_chinese", [False, True])
def test_a_first_start_shows_address_and_setup_code(is_chinese):
    text = welcome_text(FIRST, is_chinese=is_chinese)
    assert "http://127.0.0.1:8080/setup#code=abcd-1234" in text
    assert "/srv/data" in text
    assert ("首次启动" in text) is is_chinese


def test_a_later_start_shows_the_network_address_and_no_code():
    text = welcome_text(LATER, is_chinese=False)
    assert "https://ops:8443" in text
    assert "setup" not in text


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"LANG": "zh_CN.UTF-8"}, True),
        ({"LANG": "en_US.UTF-8"}, False),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, False),
        ({}, False),
    ],
)
def test_the_language_is_the_environments(environ, expected):
    assert speaks_chinese(environ) is expected


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "linux", False),
        ({"CI": "1", "DISPLAY": ":0"}, "linux", False),
        ({"SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22", "DISPLAY": "localhost:10.0"}, "linux", False),
        ({}, "win32", True),
        ({}, "darwin", True),
        ({"SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"}, "darwin", False),
    ],
)
def test_a_browser_opens_only_where_somebody_sits(environ, platform, expected):
    assert has_desktop(environ, platform) is expected
