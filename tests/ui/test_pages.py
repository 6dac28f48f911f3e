import http.client
import json
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from thinktwice.run import Run
from thinktwice.ui import serving


def test_the_list_names_every_run_with_its_state_and_its_claim(ask, runs):
    page = ask("/").text
    found = dict(re.findall(r'data-run="([^"]+)" data-state="([^"]+)"', page))
    assert found == {"small": "finished", "stopped": "stopped", "damaged": "damaged"}
    head = json.loads((runs / "small/summary.json").read_text())["headline"]
    assert f"{100 * head['difference']:+.1f} points".replace("-", "−") in page
    assert "nonsense" in page  # why it is damaged
    assert f"thinktwice run {runs}/stopped/config.json" in page.replace("&#39;", "'")
    states = {state["name"]: state for state in json.loads(ask("/states").text)}
    assert states["small"]["share"] == 1.0
    assert all("root" not in state for state in states.values())  # no path leaves this machine


def test_an_empty_directory_says_what_to_type(tmp_path):
    with serving(tmp_path / "none") as address:
        host = urlsplit(address)
        connection = http.client.HTTPConnection(host.hostname, host.port, timeout=30)
        connection.request("GET", "/")
        page = connection.getresponse().read().decode()
        connection.close()
    assert "make demo" in page


def test_a_finished_run_is_its_report_with_a_way_back(ask, runs):
    from thinktwice.report import gather, render_page

    reply = ask("/run/small")
    own = render_page(gather(Run.load(runs / "small")))
    assert '<a href="/">Runs</a>' in reply.text
    body = own.partition("<body>")[2]
    assert reply.text.endswith(body[body.index("\n") + 1 :])  # nothing else is changed
    assert not (runs / "small/report.html").exists()  # and nothing is written
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', reply.text)[1]
    assert "sha256" in policy
    assert "script-src" not in reply.headers["content-security-policy"]  # which would forbid what the page allows


def test_a_page_follows_its_files(ask, runs):
    before = ask("/run/small").text
    summary = json.loads((runs / "small/summary.json").read_text())
    summary["failures"]["gremlins"] = 7
    (runs / "small/summary.json").write_text(json.dumps(summary))
    after = ask("/run/small").text
    assert "gremlins" not in before
    assert "gremlins" in after


def test_a_stopped_run_says_how_to_go_on(ask):
    reply = ask("/run/stopped")
    assert "To go on where it stopped" in reply.text
    assert "thinktwice run" in reply.text
    assert ask("/run/stopped/events").messages[0]["state"] == "stopped"  # and the stream ends


def test_two_runs_side_by_side_link_to_their_pages(ask, runs):
    shutil.copytree(runs / "small", runs / "other")
    page = ask("/compare?run=small&run=other").text
    assert 'href="/run/small' in page
    assert 'href="/run/other' in page
    assert ask("/compare?run=small&run=nix", accept="text/html").status == 404
    assert "Runs · thinktwice" in ask("/compare?run=small").text  # one is none: back to the list


@pytest.mark.parametrize(
    "path",
    ["/run/..%2fsecret", "/run/%2e%2e%2fsecret", "/run/%2e%2e", "/run/.", "/run/../secret", "/run/small%00",
     "/run/small%2f..%2f..%2fsecret", "/compare?run=small&run=../secret", "/compare?run=../secret&run=..%2fsecret%2f",
     "/playground/samples/..%2fsecret", "/static/..%2f__init__.py", "/static/../view.py", "/run/..%2fsecret/events"],
)  # fmt: skip
def test_no_name_leads_out_of_the_runs_directory(address, path):
    host = urlsplit(address)
    connection = http.client.HTTPConnection(host.hostname, host.port, timeout=30)
    connection.putrequest("GET", path, skip_host=False)  # as it stands: urllib would tidy it up
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status in (400, 404), answer.read()
    connection.close()


def test_what_is_not_there_is_a_page_to_a_reader_and_json_to_a_script(ask):
    page = ask("/run/smal", accept="text/html")
    assert page.status == 404
    assert "Did you mean &#39;small&#39;?" in page.text
    assert json.loads(ask("/run/smal").text)["message"].startswith("There is no run")
    damaged = ask("/run/damaged", accept="text/html")
    assert damaged.status == 409
    assert "nonsense" in damaged.text
    assert ask("/nowhere", accept="text/html").status == 404


def test_a_damaged_summary_is_a_sentence(ask, runs):
    (runs / "small/summary.json").write_text("{")
    reply = ask("/run/small", accept="text/html")
    assert reply.status == 409
    assert "summary.json is damaged" in reply.text
    assert ask("/").status == 200


def test_names_and_reasons_are_escaped(ask, runs):
    (runs / "damaged/config.json").write_text('{"<script>alert(1)</script>\\u202e": 1}')
    page = ask("/").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


def test_events_tell_a_run_from_its_beginning_to_its_end(runs: Path, finished: Path):
    config = json.loads((finished / "config.json").read_text()) | {"name": "fresh"}
    with serving(runs) as address:
        with Run.open(runs / "fresh", config) as run:
            run.begin(["base", "summary"])
            connection, answer = stream(address, "/run/fresh/events")
            first = json.loads(answer.readline().removeprefix(b"data: "))
            run.stage("base", lambda stage: None)
            run.write_summary(json.loads((finished / "summary.json").read_text()))
        lines = [line for line in answer.read().decode().splitlines() if line.startswith("data: ")]
        rest = [json.loads(line.removeprefix("data: ")) for line in lines]
        connection.close()
    assert first["state"] == "running"
    assert [stage["state"] for stage in first["stages"]] == ["waiting", "waiting"]
    assert rest[-1]["state"] == "finished"
    assert rest[-1]["comparison"]["a"] == "backtrack"


def test_an_open_stream_does_not_hold_up_the_end(runs: Path, finished: Path):
    config = json.loads((finished / "config.json").read_text()) | {"name": "fresh"}
    with Run.open(runs / "fresh", config) as run:
        run.begin(["base"])
        with serving(runs) as address:
            connection, answer = stream(address, "/run/fresh/events")
            answer.readline()
        assert b"data" not in answer.read()  # the server ended it
        connection.close()


def stream(address: str, path: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    host = urlsplit(address)
    connection = http.client.HTTPConnection(str(host.hostname), host.port, timeout=30)
    connection.request("GET", path)
    return connection, connection.getresponse()
