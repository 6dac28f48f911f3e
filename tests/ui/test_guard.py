import http.client
import re
from urllib.parse import urlsplit

import pytest

from thinktwice.errors import ConfigError
from thinktwice.ui import serve
from thinktwice.ui.guard import is_own_name


@pytest.fixture
def address(untouched):
    return untouched[1]


QUESTION = {"model": "small/backtrack", "question": "Ann has 3. How many does Ann have?", "max_new_tokens": 2}


@pytest.mark.parametrize(
    ("host", "own", "exposed"),
    [
        ("127.0.0.1:8421", True, True), ("localhost", True, True), ("[::1]:8421", True, True),
        ("127.9.9.9", True, True), ("LOCALHOST:1", True, True), ("evil.example", False, False),
        ("127.0.0.1.evil.example", False, False),
        ("localhost.evil.example:8421", False, False), ("evil@127.0.0.1", True, True), ("", False, False),
        ("10.0.0.7:8421", False, True), ("[::ffff", False, False), ("2130706433", False, False),
    ],
)  # fmt: skip
def test_whose_names_are_our_own(host, own, exposed):
    assert is_own_name(host) is own
    assert is_own_name(host, exposed=True) is exposed


def test_a_foreign_host_gets_nothing(address):
    place = urlsplit(address)
    for path in ("/", "/run/small", "/static/ui.css"):
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
        connection.request("GET", path, headers={"host": f"rebound.example:{place.port}"})
        answer = connection.getresponse()
        assert answer.status == 421
        assert b"small" not in answer.read()
        connection.close()


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"content_type": "text/plain"},
        {"content_type": "application/x-www-form-urlencoded"},
    ],
)
def test_another_sites_page_cannot_ask(ask, headers):
    reply = ask("/playground/answer", QUESTION, **headers)
    assert reply.status == 403
    assert "event-stream" not in reply.headers["content-type"]


def test_a_preflight_is_not_answered_with_leave(address):
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    connection.request("OPTIONS", "/playground/answer", headers=asked)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 405
    assert not [name for name, _ in answer.getheaders() if name.lower().startswith("access-control")]
    connection.close()


def test_asking_takes_a_post(ask):
    assert ask("/playground/answer").status == 405


@pytest.mark.parametrize(
    "path", ["/", "/playground", "/run/stopped", "/run/small", "/static/ui.css", "/states", "/nix"]
)
def test_every_answer_has_safe_headers(ask, path):
    headers = {name.lower(): value for name, value in ask(path).headers.items()}
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert not [name for name in headers if name.startswith("access-control")]
    if path != "/run/small":  # which has its own policy, by hash, inside
        assert "default-src 'none'; script-src 'self';" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/", "/playground", "/run/stopped"])
def test_our_pages_have_no_inline_script_or_style(ask, path):
    page = ask(path).text
    assert not re.findall(r"<script(?![^>]*(?:src=|application/json))", page)
    assert not re.findall(r"\sstyle=|<style|\son[a-z]+=", page)


def test_another_host_needs_leave(tmp_path):
    with pytest.raises(ConfigError, match="--expose"):
        serve(tmp_path, host="0.0.0.0", port=0)
