"""The console's files over HTTP: pages, assets, compression, caching, and what must not leave the folder."""

import gzip

import pytest

from tests.fakes.web import serve_table

PAGE = "<!doctype html><title>console</title>"
SCRIPT = "console.log('x');" * 50


@pytest.fixture
def folder(tmp_path):
    console = tmp_path / "data" / "console"
    (console / "assets").mkdir(parents=True)
    (console / "index.html").write_text(PAGE)
    (console / "assets" / "app-1a2b.js").write_text(SCRIPT)
    (console / "assets" / "app-1a2b.js.gz").write_bytes(gzip.compress(SCRIPT.encode()))
    (console / ".hidden.js").write_text("hidden")
    (tmp_path / "data" / "secret.txt").write_text("secret")
    return tmp_path / "data"


@pytest.fixture
async def site(folder):
    async with serve_table([], folder) as site:
        yield site


async def fetch(site, path, **headers):
    async with site.client.get(
        f"{site.url}{path}", headers={k.replace("_", "-"): v for k, v in headers.items()}
    ) as answer:
        return answer, await answer.text()


@pytest.mark.parametrize("path", ["/", "/setup", "/nodes/nod_1?tab=metrics", "/packages/web/1.0.0", "/index.html"])
async def test_every_page_is_the_console(site, path):
    answer, text = await fetch(site, path, Accept="text/html")
    assert (answer.status, text) == (200, PAGE)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_an_asset_is_kept_for_ever_and_sent_packed(site):
    plain, text = await fetch(site, "/assets/app-1a2b.js", Accept_Encoding="identity")
    packed, same = await fetch(site, "/assets/app-1a2b.js", Accept_Encoding="gzip")
    assert text == same == SCRIPT
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert plain.headers["ETag"] != packed.headers["ETag"]
    again, _ = await fetch(site, "/assets/app-1a2b.js", Accept_Encoding="gzip", If_None_Match=packed.headers["ETag"])
    assert again.status == 304


@pytest.mark.parametrize(
    "path",
    [
        "/assets/gone.js",
        "/.hidden.js",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/assets/..%5c..%5csecret.txt",
        "/a.txt%00",
    ],
)
async def test_what_is_no_file_of_the_console_is_not_found(site, path):
    answer, text = await fetch(site, path)
    assert answer.status == 404
    assert "secret" not in text.replace(path, "").replace("secret.txt", "")


async def test_a_new_build_is_seen(site, folder):
    await fetch(site, "/")
    (folder / "console" / "index.html").write_text("<!doctype html><title>second build</title>")
    assert "second build" in (await fetch(site, "/"))[1]


async def test_a_missing_console_says_how_to_build_it(tmp_path):
    async with serve_table([], tmp_path / "data") as site:
        answer, text = await fetch(site, "/")
        assert answer.status == 503
        assert "make install" in text
