"""Files that mean harm."""

from __future__ import annotations

import resource
import signal
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims any size in a few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


class Slow(BaseException):
    """A call took longer than it may; not an `Exception`, so that nothing takes it for a fault of the file."""


@contextmanager
def bounded(extra: int = 512 << 20, seconds: float = 5.0) -> Iterator[None]:
    """Fail what takes more processor time than `seconds`, or allocates more than `extra` bytes beyond what is held now,
    even if it never touches them.
    """

    def stop(*_: object) -> None:
        raise Slow(f"took more than {seconds} s")

    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGVTALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (now + extra, hard))
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGVTALRM, before)
