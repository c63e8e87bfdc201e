"""The studio's web server: for this machine alone, unless a host is named, and then behind a password."""

from __future__ import annotations

import hmac
import ipaddress
import os
import signal
import tempfile
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sdd.errors import SddError

if TYPE_CHECKING:
    from sdd.apps.studio.workshop import Workshop

LOCAL, PORT = "127.0.0.1", 7860
SHORTEST = 8  # characters of a password
WRONG = 1.0  # seconds that a wrong one costs


def check_door(host: str, password: str | None) -> None:
    """Refuse a studio that others could enter without a password.

    Raises:
        SddError: the host is not this machine alone and there is no password, or a short one.
    """
    if password is not None and len(password) < SHORTEST:
        raise SddError(f"a studio's password has at least {SHORTEST} characters; give a longer one")
    if password is None and not is_local(host):
        raise SddError(
            f"--host {host} lets others in, so a password is needed; set SDD_STUDIO_PASSWORD, or leave --host out"
        )


def is_local(host: str) -> bool:
    """Whether only this machine can reach a server there."""
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def check_gradio() -> None:
    """Say how to get what the page is made of.

    Raises:
        SddError: it is not here.
    """
    from importlib.util import find_spec

    if find_spec("gradio") is None:
        raise SddError("the studio needs gradio, which is not installed; get it with: pip install 'sdd[studio]'")


class Server:
    """A studio that is being served; `url` is where.

    Args:
        port: None for the first free one from 7860 on.

    Raises:
        SddError: gradio is not installed, the port is taken, or others could enter without a password.
    """

    def __init__(self, shop: Workshop, host: str = LOCAL, port: int | None = None, password: str | None = None) -> None:
        check_door(host, password)
        check_gradio()
        self._folder = tempfile.TemporaryDirectory(prefix="sdd-studio-")
        _settle(self._folder.name)
        from sdd.apps.studio.layout import OUTSIDE, STYLE, layout, theme

        self._page = layout(shop)
        self._page.queue(default_concurrency_limit=4, max_size=200, api_open=False)
        try:
            _, self.url, _ = self._page.launch(
                **_launching(host, port, password), theme=theme(), css=STYLE, head=OUTSIDE, prevent_thread_lock=True
            )
        except OSError as error:
            self._folder.cleanup()
            wish = "leave --port out, or give another" if port is not None else "give a free one with --port"
            raise SddError(f"cannot serve at {host}, port {port or PORT} ({error}); {wish}") from error

    def wait(self) -> None:
        """Serve until Ctrl-C, or until the system ends it, which is the same."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            while True:
                time.sleep(3600)
        finally:
            self.close()

    def close(self) -> None:
        """Stop serving."""
        self._page.close(verbose=False)
        self._folder.cleanup()


def _settle(folder: str) -> None:
    """Have gradio as it is here, whatever its environment says: it opens doors, and writes home."""
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": folder, "HF_HUB_DISABLE_TELEMETRY": "1"}


def _launching(host: str, port: int | None, password: str | None) -> dict[str, Any]:
    from starlette.middleware import Middleware

    from sdd.apps.studio.doors import LOCAL as NAMES
    from sdd.apps.studio.doors import Doors
    from sdd.apps.studio.limits import MAX_BYTES, MAX_VISITORS

    def known(_: str, given: str) -> bool:
        assert password is not None, "asked only where there is one"
        if hmac.compare_digest(given.encode(), password.encode()):
            return True
        time.sleep(WRONG)
        return False

    doors = Middleware(Doors, hosts={*NAMES, host} if is_local(host) else None)
    return {
        "server_name": host,
        "server_port": port,
        "auth": None if password is None else known,
        "auth_message": "Any name will do; the password is the studio's.",
        "app_kwargs": {"middleware": [doors], "docs_url": None, "redoc_url": None, "openapi_url": None},
        "state_session_capacity": MAX_VISITORS,
        "max_file_size": MAX_BYTES,
        "allowed_paths": [],
        "footer_links": [],
        "quiet": True,
        "share": False,
        "inbrowser": False,
        "run_history": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "enable_monitoring": False,
        "show_error": False,
    }
