import pytest

from ops_system.master.welcome import Ready, speaks_chinese, wants_browser, welcome_text

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
    ("environ", "platform", "has_terminal", "expected"),
    [
        ({"DISPLAY": ":0"}, "linux", False, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", False, True),
        ({"DISPLAY": ":0"}, "linux", True, False),
        ({}, "linux", False, False),
        ({"CI": "1", "DISPLAY": ":0"}, "linux", False, False),
        ({}, "win32", False, True),
        ({}, "darwin", False, True),
        ({}, "win32", True, False),
    ],
)
def test_a_browser_opens_only_after_a_double_click(environ, platform, has_terminal, expected):
    assert wants_browser(environ, platform, has_terminal=has_terminal) is expected
