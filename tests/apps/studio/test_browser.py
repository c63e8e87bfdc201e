"""The studio in a real browser, with several visitors: pytest -n 0 -m slow tests/apps/studio

Left out of the suite, which is to be fast. With --screenshots docs/images it makes the pictures of the README.
"""

import base64
import io
import json
import re
import shlex
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import sdd.apps.studio.server as serving
from sdd.apps.cli.main import app
from sdd.apps.studio import limits
from sdd.apps.studio.workshop import workshop
from sdd.domains import library
from sdd.domains.embedded import EMBEDDED
from sdd.errors import SddError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
SHORT = "4"  # steps of a training


@pytest.fixture(scope="module")
def chromium():
    for module, how in (("gradio", "pip install '.[studio]'"), ("playwright", "pip install '.[browser]'")):
        if find_spec(module) is None:
            pytest.skip(f"the studio is tested in a browser with {module}, which is not installed; get it with: {how}")
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no browser; get one with: apt-get install chromium (Debian), or put chromium on the PATH")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def studio(chromium, tmp_path_factory, request):
    """A studio of the embedded domain with two editors."""
    folder = tmp_path_factory.mktemp("studio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDD_HOME", str(folder / "home"))
        patch.chdir(folder)
        (folder / "editors").mkdir()
        given = request.config.getoption("--editors", default=None)
        for prompt in ("white hair", "sunglasses"):
            out = folder / "editors" / f"{prompt.replace(' ', '-')}.safetensors"
            if given is not None:
                shutil.copy(request.config.rootpath / given / out.name, out)
                continue
            result = CliRunner().invoke(app, ["train", prompt, "-o", str(out), "--device", "cpu"])
            assert result.exit_code == 0, result.output
        cpu = torch.device("cpu")
        shop = workshop([Path("editors")], library.get(EMBEDDED, cpu), cpu)
        server = serving.Server(shop)
        server.shop = shop
        yield server
        server.close()


@pytest.fixture
def visit(chromium, studio):
    """Opens the studio as a new visitor; whatever is fetched from elsewhere, or goes wrong in a script, is an error."""
    contexts, wrong = [], []

    def open_page(width=1180, height=900, dark=False):
        scheme = "dark" if dark else "light"
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("request", lambda request: wrong.append(request.url) if not is_ours(request.url) else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(studio.url)
        settled(page)
        return page

    def is_ours(url):
        return url.startswith((studio.url, "data:", "blob:"))

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def settled(page):
    page.wait_for_selector("#pair img.after[src^='data:']")
    page.wait_for_function("document.querySelector('#command textarea').value")


def command(page):
    return page.input_value("#command textarea")


def value_of(page, selector):
    return float(page.input_value(f"{selector} input[type=range]"))


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)
    return found


def download(page):
    with page.expect_download() as caught:
        page.click("#save")
    return Path(caught.value.path()).read_bytes(), caught.value.suggested_filename


@contextmanager
def dragging(page, selector, at):
    """The mouse held on a slider's thumb, which stands at a share of its length; yields what moves it to another."""
    box = page.locator(f"{selector} input[type=range]").bounding_box()
    inset, y = 8, box["y"] + box["height"] / 2

    def to(share):
        page.mouse.move(box["x"] + inset + share * (box["width"] - 2 * inset), y)

    to(at)
    page.mouse.down()
    yield to
    page.mouse.up()


def same_as_the_command_line(page):
    """The bytes that the command line writes, which is shown on the page, are those that are downloaded."""
    saved, name = download(page)
    for line in command(page).split(" && "):
        result = CliRunner().invoke(app, shlex.split(line)[1:])
        assert result.exit_code == 0, result.output
    assert Path("edited", name).read_bytes() == saved
    return saved


def test_upload_edit_download(visit, tmp_path):
    page = visit()
    first = same_as_the_command_line(page)
    photo = Image.open(Path(__file__).parents[2] / "data" / "astronaut.jpg").convert("RGB")
    photo.resize((300, 240)).save("me.jpg")
    page.set_input_files("#drop input", "me.jpg")
    until(lambda: "me.jpg" in command(page))
    assert "300 × 240" in page.inner_text("#said") or "inverts" in page.inner_text("#said")
    page.get_by_label("medium", exact=True).uncheck()
    until(lambda: "--levels" in command(page))
    with dragging(page, "#strength-0", 2 / 3) as to:
        to(0.5)
    until(lambda: "--strength=0.5" in command(page))
    second = same_as_the_command_line(page)
    page.click("#blend input")
    until(lambda: "--no-blend" in command(page))
    assert len({first, second, same_as_the_command_line(page)}) == 3


def test_dragging_is_live_and_ends_where_it_ends(visit):
    """Pictures change while the mouse is held, and the last one is that of the last place, every time."""
    page = visit()
    page.evaluate(
        """() => {
            window.drawn = 0;
            document.querySelector("#pair img.after").addEventListener("load", () => { window.drawn++; });
        }"""
    )
    at = 2 / 3
    for end in (0.1, 0.9, 0.35, 1.0, 0.0, 0.6):
        with dragging(page, "#strength-0", at) as to:
            before = page.evaluate("window.drawn")
            for step in range(1, 26):
                to(at + (end - at) * step / 25)
                time.sleep(0.03)
            until(lambda before=before: page.evaluate("window.drawn") > before, 10)  # the mouse is still down
        at = end
        wanted = value_of(page, "#strength-0")
        assert abs(wanted - (3 * end - 1)) < 0.11
        time.sleep(1)
        assert value_of(page, "#strength-0") == wanted  # no late event moves it
        shown = re.search(r"--strength=(\S+)", command(page))
        assert float(shown[1] if shown else 1.0) == pytest.approx(wanted)
    page.locator("#strength-0 input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    until(lambda: f"--strength={wanted + 0.05:g}" in command(page))


@pytest.mark.parametrize("what", ["avatar", "photo"])
def test_round_trip(visit, capsys, what):
    """Milliseconds from a key on a slider to the picture; printed, as other work on the machine decides."""
    page = visit()
    if what == "photo":
        photo = Image.open(Path(__file__).parents[2] / "data" / "astronaut.jpg").convert("RGB")
        photo.resize((2000, 1500)).save("large.jpg")
        page.set_input_files("#drop input", "large.jpg")
        until(lambda: "large.jpg" in command(page))
    page.evaluate(
        """() => {
            const slider = document.querySelector("#strength-0 input[type=range]");
            let began = 0;
            window.took = [];
            slider.addEventListener("input", () => { began = performance.now(); });
            const note = () => { window.took.push(performance.now() - began); };
            document.querySelector("#pair img.after").addEventListener("load", note);
        }"""
    )
    page.locator("#strength-0 input[type=range]").focus()
    for _ in range(16):  # down to a fifth: close to none two strengths may give one picture, which is not loaded anew
        count = page.evaluate("window.took.length")
        page.keyboard.press("ArrowLeft")
        until(lambda count=count: page.evaluate("window.took.length") > count, 10)
    took = np.sort(page.evaluate("window.took"))
    with capsys.disabled():
        print(f"\n{what}: median {np.median(took):.0f} ms, 90 % within {took[int(0.9 * len(took))]:.0f} ms")
    assert np.median(took) < 1000


def test_keyboard_alone(visit):
    """From the top of the page by Tab and the arrows: another editor, its strength, the divider."""
    page = visit()
    page.focus("#pair input")
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.querySelector('.pair').style.getPropertyValue('--at')") == "45%"
    parts, reached = ("drop", "random", "editor-0", "strength-0", "levels", "blend", "save"), set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached |= {part for part in parts if page.evaluate(f"!!document.activeElement.closest('#{part}')")}
    assert reached == {*parts}
    before = page.input_value("#editor-0 input")
    page.focus("#editor-0 input")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    chosen = until(lambda: (now := page.input_value("#editor-0 input")) != before and now)
    until(lambda: f"{chosen}.safetensors" in command(page))


def test_wrong_files(visit, tmp_path):
    page = visit()
    before = page.get_attribute("#pair img.after", "src")
    (tmp_path / "evil.png").write_bytes(b"<script>alert(1)</script>")
    page.set_input_files("#drop input", str(tmp_path / "evil.png"))
    until(lambda: "evil.png is not a picture" in page.inner_text("#said"))
    with (tmp_path / "large.png").open("wb") as file:
        file.truncate(limits.MAX_BYTES + 1)
    page.set_input_files("#drop input", str(tmp_path / "large.png"))
    until(lambda: "too large" in page.inner_text("#said"))
    assert page.get_attribute("#pair img.after", "src") == before


def test_two_visitors_have_a_picture_each(visit, tmp_path):
    one, two = visit(), visit()
    for page, colour in ((one, "red"), (two, "blue")):
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{colour}.png")
        page.set_input_files("#drop input", str(tmp_path / f"{colour}.png"))
    for page, colour in ((one, "red"), (two, "blue")):
        until(lambda page=page, colour=colour: f"{colour}.png" in command(page))
    with dragging(one, "#strength-0", 2 / 3) as to_one, dragging(two, "#strength-0", 2 / 3) as to_two:
        for step in range(10):
            to_one(2 / 3 - step / 15)
            to_two(2 / 3 + step / 30)
    for page, colour, value in ((one, (255, 0, 0), "0.2"), (two, (0, 0, 255), "1.9")):
        until(lambda page=page, value=value: "--strength=" in command(page))
        src = page.get_attribute("#pair img.before", "src")
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(src.split(",")[1]))).convert("RGB"))
        assert (pixels == colour).all()


def test_training_is_found_again_and_its_editor_joins_the_list(visit, studio, request):
    page, other = visit(), visit()
    for prompt, visitor in (("a beard", page), ("glasses", other)):
        visitor.get_by_role("tab", name="Train").click()
        visitor.fill("#prompt textarea, #prompt input", prompt)
        visitor.click("#train-more button")
        visitor.fill("#steps input", SHORT)
        visitor.click("#train")
        until(lambda visitor=visitor, prompt=prompt: prompt in visitor.inner_text("#train-said"))
    until(lambda: "Waiting: another one" in other.inner_text("#bar"))  # one after another
    page.reload()
    page.get_by_role("tab", name="Train").click()
    until(lambda: "a beard" in page.inner_text("#train-said") and page.inner_text("#bar"))
    until(lambda: page.locator("#strip img").count(), 300)  # by then the curve is there too
    assert page.get_by_text("entropy H̄").count()
    shot(page, request, "train")
    until(lambda: f"“a-beard”, {SHORT} steps" in page.inner_text("#train-said"), 300)
    assert page.locator("#strip img").count() == 1
    other.click("#stop")
    until(lambda: re.search("stopped|Stopped|“glasses”", other.inner_text("#train-said")), 300)
    page.click("#use")
    until(lambda: "a-beard.safetensors" in command(page))
    assert page.input_value("#editor-0 input") == "a-beard"
    with dragging(page, "#strength-0", 2 / 3) as to:  # after the menus have changed too
        for step in range(20):
            to(2 / 3 - step / 60)
            time.sleep(0.03)
    wanted = value_of(page, "#strength-0")
    until(lambda: f"--strength={wanted:g}" in command(page))
    same_as_the_command_line(page)


def test_methods_side_by_side(visit, request):
    page = visit()
    page.get_by_role("tab", name="Compare").click()
    page.fill("#compare-prompt textarea, #compare-prompt input", "white hair")
    chosen = ("sdedit", "instruct-pix2pix", "styleclip-global")
    for box in page.locator("#methods input").all():
        box.set_checked(box.get_attribute("name") in chosen)
    page.click("#compare")
    until(lambda: f"{len(chosen)} of {len(chosen)} methods" in page.inner_text("#compare-said"), 300)
    assert page.locator("#sheet img").count() == 1 + len(chosen)
    shot(page, request, "compare")


@pytest.mark.parametrize(("name", "how"), [
    ("edit", {}), ("dark", {"dark": True}), ("phone", {"width": 390, "height": 844}),
])  # fmt: skip
def test_every_screen(visit, request, name, how):
    page = visit(**how)
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert page.evaluate("document.body.classList.contains('dark')") == (name == "dark")
    page.click("#editor-0 input")
    page.get_by_role("option", name="white-hair").click()
    until(lambda: "white-hair" in command(page))
    time.sleep(0.5)
    shot(page, request, name)
    if name == "phone":  # the picture stays to be seen while the sliders are moved
        page.locator("#blend").scroll_into_view_if_needed()
        box = page.locator("#pair").bounding_box()
        assert -5 <= box["y"] < 100


def test_no_path_is_opened(studio):
    """Not even one that gradio itself would open."""

    def status(path, data=None):
        body = None if data is None else json.dumps(data).encode()
        asked = urllib.request.Request(studio.url.rstrip("/") + path, body, {"content-type": "application/json"})
        try:
            return urllib.request.urlopen(asked).status
        except urllib.error.HTTPError as error:
            return error.code

    assert status("/") == 200 and status("/gradio_api/file=/etc/passwd") == 404
    assert status(f"/gradio_api/file={Path('editors/white-hair.safetensors').absolute()}") == 404
    assert status("/gradio_api/upload", {}) == 404 and status("/gradio_api/info") == 404


def test_a_password_is_asked_for(studio):
    server = serving.Server(studio.shop, "127.0.0.1", None, "correct horse")
    try:
        url = server.url.rstrip("/")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{url}/config")
        with pytest.raises(SddError, match="cannot serve"):  # the port is taken
            serving.Server(studio.shop, "127.0.0.1", int(url.rpartition(":")[2]))
        for password, right in (("correct horse", True), ("wrong horses", False)):
            sent = urllib.parse.urlencode({"username": "me", "password": password}).encode()
            try:
                entered = urllib.request.urlopen(f"{url}/login", sent).status == 200
            except urllib.error.HTTPError as error:
                assert error.code == 400
                entered = False
            assert entered == right
    finally:
        server.close()


def shot(page, request, name):
    """A picture of the page, where such are wanted."""
    folder = request.config.getoption("--screenshots", default=None)
    if folder is not None:
        Path(request.config.rootpath, folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(request.config.rootpath, folder, f"studio-{name}.png"))
