"""Who may ask: a wrong token, host, origin or name is refused with a sentence, and nothing of the machine shows."""

import io

import PIL.Image
import pytest
from starlette.testclient import TestClient

from jaxstyle.serve import app as routes
from jaxstyle.serve import pictures
from jaxstyle.serve.app import make_app, make_site
from jaxstyle.serve.security import is_loopback

ADDRESS, PORT, TOKEN = "http://127.0.0.1:8733", 8733, "the-token"


def png(width=64, height=48, mode="RGB"):
    file = io.BytesIO()
    PIL.Image.new(mode, (width, height)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def stranger(browser):
    """A client of the same server without a cookie."""
    return TestClient(make_app(browser.site, TOKEN, PORT), base_url=ADDRESS)


def test_the_token_gives_a_cookie_that_scripts_and_other_sites_do_not_get(stranger):
    response = stranger.get(f"/?token={TOKEN}", follow_redirects=False)
    assert response.status_code == 303
    assert response.headers["location"] == "/"
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert stranger.get("/").headers["content-type"].startswith("text/html")
    assert stranger.get("/api/runs").json() == []


@pytest.mark.parametrize(
    "path", ["/", "/?token=wrong", "/?token=", "/static/style.css", "/api/runs", "/api/options", "/x"]
)
def test_without_the_token_there_is_nothing(stranger, path):
    response = stranger.get(path, headers={"Cookie": f"jaxstyle-{PORT}=wrong"})
    assert response.status_code == 403
    assert "expected the whole address that the server printed" in response.text


@pytest.mark.parametrize(
    "host", ["evil.example", f"evil.example:{PORT}", "127.0.0.1:1", "127.0.0.1", f"127.0.0.1.evil.example:{PORT}", ""]
)
def test_another_host_is_refused_even_with_the_cookie(browser, host):
    response = browser.http.get("/api/runs", headers={"Host": host})
    assert response.status_code == 403
    assert response.json() == {"error": "the address is not that of this server, expected the one that it printed"}


@pytest.mark.parametrize("host", [f"localhost:{PORT}", f"[::1]:{PORT}", f"127.0.0.1:{PORT}"])
def test_the_names_of_the_loopback_are_ours(browser, host):
    assert browser.http.get("/api/runs", headers={"Host": host, "Origin": f"http://{host}"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", f"https://127.0.0.1:{PORT}", "http://127.0.0.1:1", "null"])
def test_another_origin_is_refused_even_with_the_cookie(browser, origin):
    for method, path in (("GET", "/api/runs"), ("POST", "/api/runs"), ("DELETE", "/api/runs/x")):
        response = browser.http.request(method, path, headers={"Origin": origin})
        assert response.status_code == 403
        assert "from another page" in response.json()["error"]


def test_a_post_without_an_origin_is_refused(browser):
    del browser.http.headers["Origin"]
    assert browser.http.post("/api/runs", json={}).status_code == 403
    assert browser.http.delete("/api/runs/x").status_code == 403
    assert browser.http.get("/api/runs").status_code == 200


def test_every_answer_has_the_headers(browser):
    for path in ("/", "/api/runs", "/api/none", "/static/style.css", "/static/none"):
        headers = browser.http.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert browser.http.get("/api/runs").headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        *("/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e%2fapp.py", "/static//etc/passwd"),
        *(
            "/api/gallery/..%2f..%2fetc%2fpasswd/picture",
            "/api/gallery/%2fetc%2fpasswd/picture",
            "/api/gallery/../thumb",
        ),
        *("/api/pictures/..%2fphoto/thumb", "/api/interrupted/..%2fx/thumb", "/api/runs/..%2f/photo"),
    ],
)
def test_a_path_in_a_name_leads_nowhere(browser, path):
    response = browser.http.get(path)
    assert response.status_code == 404
    assert "root:" not in response.text


def test_a_path_in_a_request_is_no_picture(browser):
    body = {"photo": "/etc/passwd", "paintings": ["painting"]}
    assert browser.post("/api/runs", body) == (404, "there is no such picture on the server: choose it again")
    status, error = browser.post(
        "/api/runs", {"photo": "photo", "paintings": ["painting"], "settings": {"init": "/x.png"}}
    )
    assert status == 400
    assert "unknown init" in error
    assert browser.post("/api/interrupted/..%2f..%2fx/resume")[0] == 404
    assert browser.delete("/api/interrupted/..%2f..%2fx")[0] == 404


def test_too_many_bytes_are_refused_before_they_are_read(browser, monkeypatch):
    monkeypatch.setattr(routes, "MAX_BYTES", 1000)
    assert browser.upload("photo", bytes(1001)) == (
        413,
        "the file has more than 1000 bytes, expected at most so many: make it smaller",
    )
    # In parts, without a length.
    assert browser.upload("photo", iter([bytes(600)] * 3))[0] == 413
    monkeypatch.setattr(routes, "MAX_JSON_BYTES", 100)
    assert browser.post("/api/runs", {"photo": "x" * 200})[0] == 413


def test_too_many_pixels_are_refused_before_they_are_decoded(browser, monkeypatch):
    # A few kilobytes that would be a gigabyte.
    file = io.BytesIO()
    PIL.Image.new("1", (30_000, 30_000)).save(file, "PNG")
    assert len(file.getvalue()) < 2**20
    monkeypatch.setattr(PIL.Image.Image, "load", None)
    for kind in ("photo", "painting", "mask"):
        status, error = browser.upload(kind, file.getvalue())
        assert status == 400
        assert error.startswith(f"the {kind} has 30000x30000 pixels, too many pixels to be opened safely")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "the photo is an empty file"),
        (b"hello", "the photo is a text"),
        (png()[:60], "damaged or incomplete"),
        (png(20, 20), "the photo is 20x20 pixels, expected at least 32 a side"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "the photo is"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "the photo is"),
    ],
    ids=["empty", "text", "cut off", "too small", "SVG", "EPS"],
)
def test_a_broken_file_is_a_sentence(browser, data, words):
    status, error = browser.upload("photo", data)
    assert status == 400
    assert words in error
    assert "\n" not in error


def test_pictures_have_random_names(browser):
    first, second = (browser.upload("photo", png())["id"] for _ in range(2))
    assert first != second
    assert len(first) >= 16
    assert browser.upload("movie", png())[0] == 400


def test_the_server_holds_only_so_many_pictures(browser, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_TOTAL_BYTES", 400_000)
    status, error = browser.upload("photo", png() + bytes(30_000))
    assert status == 400
    assert "too many pictures" in error


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{", "the request is not JSON"),
        ("[]", "expected names and values"),
        ("{}", "paintings is None, expected 1 to 8"),
        ('{"photo": "photo", "paintings": "painting"}', "expected 1 to 8"),
        ('{"photo": "photo", "paintings": ["painting"], "settings": 3}', "settings is 3"),
        ('{"photo": "photo", "paintings": ["painting"], "settings": {"glow": 3}}', "there is no option 'glow'"),
        ('{"photo": "photo", "paintings": ["painting"], "settings": {"steps": "many"}}', "steps is 'many'"),
        ('{"photo": "photo", "paintings": ["painting"], "settings": {"window": "x"}}', "window is 'x'"),
        ('{"photo": "photo", "paintings": ["painting"], "start": "x"}', "start is 'x'"),
        ('{"photo": ["photo"], "paintings": ["painting"]}', "no such picture"),
    ],
)
def test_a_wrong_request_is_a_sentence(browser, body, words):
    response = browser.http.post("/api/runs", content=body)
    assert response.status_code in (400, 404)
    assert words in response.json()["error"]
    assert browser.get("/api/runs") == []


def test_nothing_shows_a_path_of_the_machine(browser, tmp_path):
    run = browser.finish(browser.start(steps=2))
    shown = [
        *(browser.http.get(path).text for path in ("/api/options", "/api/runs", f"/api/runs/{run.id}", "/api/gallery")),
        browser.http.get("/api/interrupted").text,
        browser.http.get(f"/api/gallery/{browser.get('/api/gallery')[0]['id']}/recipe").text,
    ]
    picture = browser.get(f"/api/runs/{run.id}/download?format=png").content
    for text in shown:
        assert str(tmp_path) not in text
        assert "site-packages" not in text
    assert str(tmp_path).encode() not in picture


def test_other_machines_are_recognized():
    assert all(map(is_loopback, ("127.0.0.1", "127.8.9.1", "localhost", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "192.168.1.2", "::", "example.com", "localhost.example.com")))


@pytest.mark.parametrize(
    ("host", "status"),
    [("192.168.1.2", 200), ("[fe80::1]", 200), ("evil.example", 403), ("127.0.0.1", 200), ("192.168.1.2.example", 403)],
)
def test_a_remote_server_answers_to_addresses_and_its_own_name(tmp_path, tiny_weights, host, status):
    site = make_site(tmp_path, None, tiny_weights)
    client = TestClient(make_app(site, TOKEN, PORT, remote=True), base_url=f"http://{host}:{PORT}")
    try:
        assert client.get(f"/?token={TOKEN}", follow_redirects=False).status_code == (303 if status == 200 else 403)
    finally:
        site.runs.close()
