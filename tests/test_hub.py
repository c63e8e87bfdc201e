"""Editors on a hub: a stub of it on loopback, a folder, and the card that goes with them."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from PIL import Image

from sdd import card
from sdd.domains import library
from sdd.editor import Editor
from sdd.errors import SddError
from sdd.io import hub
from toy import toy_domain
from toy_editor import toy_editor

COMMIT = "a" * 40


class Stub(BaseHTTPRequestHandler):
    """What the hub's client asks of a hub, for repositories whose files are kept in memory."""

    repos = None  # files by name, by repository

    def log_message(self, *_):
        pass

    def answer(self, body, code=200, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(data)), "X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        host = f"http://{self.headers['Host']}"
        if self.path == "/api/repos/create":
            name = json.loads(body)["name"]
            self.repos.setdefault(f"me/{name}", {})
            return self.answer({"url": f"{host}/me/{name}"})
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        repo = "/".join(self.path.split("/")[3:5])
        if "/preupload/" in self.path:
            files = json.loads(body)["files"]
            return self.answer(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        if "/commit/" in self.path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.repos[repo][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            return self.answer({"commitUrl": f"{host}/{repo}/commit/{COMMIT}", "commitOid": COMMIT, "success": True})
        return self.answer({"error": f"no {self.path}"}, 404)

    def do_GET(self):
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[0] == "api":
            return self.answer({"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": []})
        repo, name = "/".join(parts[:2]), "/".join(parts[4:])
        if repo not in self.repos:
            return self.answer({"error": "no repository"}, 404, **{"X-Error-Code": "RepoNotFound"})
        if name not in self.repos[repo]:
            return self.answer({"error": "no file"}, 404, **{"X-Error-Code": "EntryNotFound"})
        data = self.repos[repo][name]
        return self.answer(data, ETag=f'"{hashlib.sha256(data).hexdigest()}"')

    do_HEAD = do_GET


@pytest.fixture
def stub(monkeypatch, tmp_path):
    import huggingface_hub.constants as constants

    Stub.repos = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    # HF_ENDPOINT is read when the client is imported, which may have been long ago.
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(library, "matching", lambda *_: toy_domain())
    yield Stub
    server.shutdown()
    server.server_close()


def test_an_editor_goes_to_the_hub_and_comes_back(stub, tmp_path):
    made, pictures = toy_editor(), toy_domain().images(3, 4, "test").clamp(-1, 1)
    address = made.push_to_hub("me/red", pictures=pictures, token="hf_stub")
    assert address.endswith(f"/me/red/commit/{COMMIT}")
    assert set(stub.repos["me/red"]) == {"README.md", "editor.safetensors", "hqs.png", "samples.png"}
    found = Editor.from_pretrained("me/red", cache_dir=tmp_path / "kept", token=False)
    assert found.info == made.info and torch.equal(found(pictures), made(pictures))
    again = Editor.from_pretrained("me/red", cache_dir=tmp_path / "kept", local_files_only=True)
    assert torch.equal(again(pictures), made(pictures))


def test_what_the_hub_lacks_is_one_sentence(stub, tmp_path):
    stub.repos["me/other"] = {"model.bin": b"x"}
    stub.repos["me/broken"] = {"editor.safetensors": b"not an editor"}
    options = {"cache_dir": tmp_path / "kept", "token": False}
    for name, said in (
        ("me/none", "no repository"),
        ("me/other", "does not hold editor.safetensors"),
        ("me/broken", "truncated or not an editor"),
        ("no/such/name", "neither a folder nor the name"),
    ):
        with pytest.raises(SddError, match=said):
            Editor.from_pretrained(name, **options)
    with pytest.raises(SddError, match="cannot be reached"):
        Editor.from_pretrained("me/never", local_files_only=True, **options)


def test_a_hub_that_is_not_there_is_asked_once(stub, tmp_path, monkeypatch, capfd):
    import huggingface_hub

    made, options = toy_editor(), {"cache_dir": tmp_path / "kept", "token": False}
    made.push_to_hub("me/red", pictures=toy_domain().images(1, 4, "test").clamp(-1, 1), token="hf_stub")
    Editor.from_pretrained("me/red", **options)
    capfd.readouterr()
    asked = []

    def unreachable(url, **_):
        asked.append(url)
        raise OSError("name or service not known")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    assert Editor.from_pretrained("me/red", **options).info == made.info  # of the earlier download
    with pytest.raises(SddError, match="cannot be reached"):
        Editor.from_pretrained("me/never", **options)
    assert len(asked) == 2 and capfd.readouterr() == ("", "")


def test_a_folder_is_a_hub_too(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "matching", lambda *_: toy_domain())
    made = toy_editor(
        notes=["The art is <b>mine</b> | [free](http://x)"], figures={"slope": 0.25}, needs={"encoder": "b" * 64}
    )
    made.save_pretrained(tmp_path / "red")
    with pytest.warns(UserWarning, match="another encoder"):
        found = Editor.from_pretrained(tmp_path / "red", domain=toy_domain())
    assert found.info == made.info
    text = (tmp_path / "red" / "README.md").read_text()
    head, _, body = text.removeprefix("---\n").partition("---\n")
    assert "library_name: sdd" in head and "image-to-image" in head
    assert made.info.generator in body and "b" * 64 in body and "| slope | 0.25 |" in body and "t = 500" in body
    assert r"\<b\>mine\</b\> \| \[free\](http://x)" in body  # what a file says is no Markdown
    assert Image.open(tmp_path / "red" / "samples.png").size == (4 * 36 - 4, 3 * 36 - 4)
    assert Image.open(tmp_path / "red" / "hqs.png").format == "PNG"
    with pytest.raises(SddError, match="save_pretrained"):
        hub.download(tmp_path)


def test_a_card_cannot_be_broken_out_of():
    info = toy_editor(prompt="x\n---\nlicense: mit `y`", domain="`a`").info
    text = card.text(info, [], "me/x", "editor.safetensors")
    assert text.count("\n---\n") == 1 and "\nlicense: mit" not in text and "`'a'`" in text
