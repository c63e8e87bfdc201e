"""Who may come in, and through which doors; what is refused is refused in a sentence."""

import asyncio
import sys

import pytest
from typer.testing import CliRunner

from sdd.apps.cli.main import app
from sdd.apps.studio.doors import Doors
from sdd.apps.studio.limits import MAX_REQUEST
from sdd.apps.studio.server import check_door, is_local
from sdd.errors import SddError


def ask(path, hosts=("localhost", "127.0.0.1"), body=(b"",), **headers):
    """The status of a request, what got through to the app, and the headers of the answer."""
    got, sent = [], []

    async def inner(scope, receive, send):
        while (message := await receive())["type"] == "http.request":
            got.append(message["body"])
            if not message.get("more_body"):
                break
        else:
            got.append(None)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    messages = [{"type": "http.request", "body": part, "more_body": i < len(body) - 1} for i, part in enumerate(body)]

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    named = {"host": "localhost:7860", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http",
        "path": path,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in named.items()],
    }
    asyncio.run(Doors(inner, hosts)(scope, receive, send))
    return sent[0]["status"], got, dict(sent[0]["headers"])


@pytest.mark.parametrize(
    "path", ["/", "/config", "/login", "/assets/index-ab.js", "/gradio_api/queue/join", "/gradio_api/run/predict"]
)
def test_the_pages_own_doors_are_open(path):
    status, got, headers = ask(path)
    assert status == 200 and got == [b""]
    assert b"default-src 'self'" in headers[b"content-security-policy"] and headers[b"x-frame-options"] == b"DENY"


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/upload",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=http://localhost/",
        "/gradio_api/component_server",
        "/gradio_api/call/drawn",
        "/gradio_api/info",
        "/gradio_api/run/other",
        "/file=/etc/passwd",
        "/static/../../etc/passwd",
        "/assets/../x",
        "/svelte/x.js",
        "/monitoring",
        "/docs",
        "/openapi.json",
        "//",
        "/login/x",
        "",
    ],
)
def test_all_others_are_shut(path):
    status, got, _ = ask(path)
    assert status == 404 and got == []


def test_other_names_of_this_machine_are_refused():
    assert ask("/", host="evil.example")[0] == 403 and ask("/", host="localhost.evil.example:7860")[0] == 403
    assert ask("/", host="127.0.0.1:80")[0] == 200 and ask("/", hosts=None, host="evil.example")[0] == 200
    assert ask("/", host="")[0] == 403


def test_other_pages_may_not_have_a_browser_ask():
    assert ask("/", origin="http://localhost:7860")[0] == 200
    for origin in ("http://evil.example", "null", "http://localhost:80", "file://"):
        assert ask("/gradio_api/queue/join", origin=origin)[:2] == (403, [])


def test_sockets_are_closed():
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(Doors(None)({"type": "websocket", "path": "/"}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_long_requests_are_refused_whatever_they_say_of_their_length():
    assert ask("/gradio_api/queue/join", content_length=str(MAX_REQUEST + 1))[:2] == (413, [])
    assert ask("/gradio_api/queue/join", content_length="many")[:2] == (413, [])
    half = bytes(MAX_REQUEST // 2)
    status, got, _ = ask("/gradio_api/queue/join", body=(half, half, half))
    assert status == 200 and got == [half, half, None]  # the app sees somebody who went away


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org", "127.evil.example"])
def test_others_need_a_password(host):
    assert not is_local(host)
    with pytest.raises(SddError, match="password is needed"):
        check_door(host, None)
    with pytest.raises(SddError, match="at least 8"):
        check_door(host, "short")
    check_door(host, "long enough")


def test_this_machine_needs_none():
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        check_door(host, None)


def test_the_command_refuses_before_anything_is_loaded(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SDD_STUDIO_PASSWORD", raising=False)

    def said(*arguments):
        result = CliRunner().invoke(app, ["studio", *arguments])
        assert result.exit_code == 2 and result.stdout == "" and len(result.stderr.splitlines()) == 1, result.output
        return result.stderr

    assert "password is needed" in said("--host", "0.0.0.0")
    assert "at least 8" in said("--password", "short")
    assert "--port" in said("--port", "0")
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'sdd[studio]'" in said()
