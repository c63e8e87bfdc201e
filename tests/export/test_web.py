"""The page: what it is made of, and, slowly, an edit in a real browser without a network."""

import base64
import functools
import hashlib
import io
import json
import os
import shutil
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdd.editor import Composition
from sdd.errors import SddError
from sdd.export import runtime, trace, web
from sdd.export.precision import Precision
from sdd.io.pictures.write import from_tensor
from toy import SIZE, toy_domain
from toy_editor import toy_editor

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def archive(extra=b""):
    """An archive as npm makes one."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as package:
        for name in runtime.FILES:
            data, info = name.encode() + extra, tarfile.TarInfo(f"package/dist/{name}")
            info.size = len(data)
            package.addfile(info, io.BytesIO(data))
    return made.getvalue()


@pytest.fixture
def pinned(monkeypatch):
    data = archive()
    digest = base64.b64encode(hashlib.sha512(data).digest()).decode()
    monkeypatch.setattr(runtime, "INTEGRITY", f"sha512-{digest}")
    return data


def test_the_runtime_is_taken_from_an_archive_or_a_folder(pinned, tmp_path):
    (tmp_path / "ort.tgz").write_bytes(pinned)
    found = runtime.find(tmp_path / "ort.tgz")
    assert found == {name: name.encode() for name in runtime.FILES}
    runtime.write(found, tmp_path / "package" / "dist")
    assert runtime.find(tmp_path / "package") == runtime.find(tmp_path / "package" / "dist") == found


def test_another_runtime_is_refused(pinned, tmp_path):
    (tmp_path / "ort.tgz").write_bytes(archive(b"!"))
    with pytest.raises(SddError, match="SHA-512 differs"):
        runtime.find(tmp_path / "ort.tgz")
    with pytest.raises(SddError, match="is no onnxruntime-web"):
        runtime.find(tmp_path)


def test_npm_fetches_it_or_says_why_not(pinned, tmp_path, monkeypatch):
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    (tmp_path / "ort.tgz").write_bytes(pinned)
    npm.write_text(f'#!/bin/sh\n[ "$2" = onnxruntime-web@{runtime.VERSION} ] && cp {tmp_path}/ort.tgz .\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:{os.environ['PATH']}")
    assert set(runtime.find(None)) == set(runtime.FILES)
    npm.write_text("#!/bin/sh\necho no network >&2; exit 1\n")
    with pytest.raises(SddError, match=r"could not fetch .*no network.*--runtime"):
        runtime.find(None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SddError, match=r"npm is not here.*--runtime"):
        runtime.find(None)


def test_the_page_is_whole_and_asks_nobody_else():
    page = files("sdd") / "export" / "page"
    text = "".join((page / name).read_text() for name in web.PAGE)
    assert "default-src 'none'" in text and "innerHTML" not in text
    assert not [line for line in text.splitlines() if "http://" in line or "https://" in line]
    for name in ("editor.json", "open.onnx", "draw.onnx", "sample.png", "./runtime/"):
        assert name in text


def test_without_the_packages_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(SddError, match=r"sdd\[export\]"):
        web.write_site(Composition([toy_editor()]), tmp_path / "site", toy_domain().images(1)[0])
    assert not (tmp_path / "site").exists()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.slow
def test_a_browser_edits_as_the_editor_does(tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright, and a Chromium")
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    try:
        trace.check_installed()
        given = os.environ.get("SDD_ONNXRUNTIME_WEB")  # an archive of npm's, where there is no network
        runtime.find(Path(given) if given else None)
    except SddError as error:
        pytest.skip(str(error))
    editors = Composition([toy_editor("image-to-image", 0), toy_editor("image-to-image", 1, prompt="<b>greener</b>")])
    sample = toy_domain().images(1, 4, "test")[0].clamp(-1, 1)
    web.write_site(editors, tmp_path, sample, Precision.float32, Path(given) if given else None)
    assert json.loads((tmp_path / "editor.json").read_text())["image_size"] == SIZE
    seen = from_tensor(sample)  # the page reads the PNG
    pixels = np.asarray(seen, dtype=np.float32).transpose(2, 0, 1) / np.float32(127.5) - 1
    import torch

    picture = torch.from_numpy(pixels)[None]
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here, asked = f"http://127.0.0.1:{server.server_port}/", []
    try:
        with sync_api.sync_playwright() as play:
            chromium = play.chromium.launch(executable_path=browser, args=list(FLAGS))
            page = chromium.new_page()
            page.on("request", lambda request: asked.append(request.url))
            page.goto(here)
            page.wait_for_selector("body[data-edits='1']", timeout=90_000)
            assert page.locator("label[for=strength-1]").inner_text() == "<b>greener</b>"
            page.fill("#strength-0", "0.5")
            page.wait_for_selector("body[data-edits='2']")
            assert float(page.locator("body").get_attribute("data-draw")) > 0  # ms
            with page.expect_download() as download:
                page.click("#save")
            edited = np.asarray(Image.open(download.value.path()).convert("RGB"), dtype=int)
            (tmp_path / "broken.png").write_bytes(b"no picture")
            page.set_input_files("#file", tmp_path / "broken.png")
            page.get_by_text("That is no picture").wait_for()
            chromium.close()
    finally:
        server.shutdown()
        server.server_close()
    wanted = np.asarray(from_tensor(editors(picture, [0.5, 1.0])[0]), dtype=int)
    assert np.abs(edited - wanted).max() <= 1 and np.abs(edited - np.asarray(seen, dtype=int)).max() > 20
    assert all(url.startswith((here, "blob:", "data:")) for url in asked)
