"""A training run on disk: what it is, its last checkpoint, its log and its pictures."""

from __future__ import annotations

import io
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sdd.errors import SddError
from sdd.io.files import atomic_path, check_target, sweep, write_bytes, write_text
from sdd.io.untrusted import containers

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from torch import Tensor


def slug(text: str) -> str:
    """`text` as part of a file name: lower case, words joined by dashes, at most 40 characters."""
    return re.sub(r"[^\w]+", "-", text.lower()).strip("-")[:40] or "run"


def run_folder(description: dict[str, Any], parent: str | Path = "runs") -> Path:
    """Where the run that `description` describes lives: the same command finds the same folder again."""
    digest = sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:8]
    return Path(parent) / f"{slug(str(description.get('prompt', '')))}-{digest}"


def fingerprint(path: str | Path) -> str | None:
    """What a model's file or folder holds, in short; None if there is nothing at `path`.

    Of each file its name, size and three samples: weights that were trained again differ everywhere, and gigabytes are
    not read to tell. Where the folder lies and when it was written make no difference.
    """
    root = Path(path)
    if not str(path) or not root.exists():
        return None
    digest, part = sha256(), 2**20
    for file in sorted(root.rglob("*")) if root.is_dir() else [root]:
        if not file.is_file():
            continue
        size = file.stat().st_size
        digest.update(f"{file.relative_to(root)} {size}\n".encode())
        with file.open("rb") as data:
            for start in sorted({0, max(0, size // 2 - part // 2), max(0, size - part)}):
                data.seek(start)
                digest.update(data.read(part))
    return digest.hexdigest()


class Run:
    """A folder with `run.json`, `checkpoint.pt`, `log.jsonl` and `step-*.png`; without a folder nothing is written.

    Args:
        folder: the folder, made if need be; None keeps nothing.
        description: what identifies the run, JSON-able; a folder that holds another run is refused.

    Raises:
        SddError: the folder cannot be written, holds another run, or another process is training in it.
    """

    def __init__(self, folder: str | Path | None, description: dict[str, Any]) -> None:
        self.folder = None if folder is None else Path(folder)
        self.description = description
        self._board: Any = None
        self._lock: int | None = None
        if self.folder is None:
            return
        self._lock = _locked(self.folder)
        try:
            sweep(self.folder)
            card = self.folder / "run.json"
            check_target(card)
            if card.exists():
                self._refuse_another(card)
            else:
                write_text(card, json.dumps(description, indent=1, sort_keys=True) + "\n")
        except SddError:
            self._release()
            raise

    def _refuse_another(self, card: Path) -> None:
        try:
            found = json.loads(card.read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise SddError(f"{card} is damaged ({error}); delete {self.folder} or name another run folder") from error
        wanted = json.loads(json.dumps(self.description))
        if found != wanted:
            keys = [k for k in wanted if not isinstance(found, dict) or found.get(k) != wanted[k]]
            raise SddError(
                f"{self.folder} holds another run (they differ in {', '.join(keys) or 'description'}); delete it or "
                f"name another run folder"
            )

    def save(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint, atomically: a kill at any moment leaves the old one or the new one whole."""
        if self.folder is not None:
            # Through memory: on a full disk torch.save itself raises what does not say so.
            whole = io.BytesIO()
            torch.save({**state, "run": self._digest()}, whole)
            write_bytes(self.folder / "checkpoint.pt", whole.getvalue())

    def _digest(self) -> str:
        return sha256(json.dumps(self.description, sort_keys=True).encode()).hexdigest()

    def restore(self) -> dict[str, Any] | None:
        """The last checkpoint, or None if there is none.

        Raises:
            SddError: the checkpoint is damaged, or not of this run.
        """
        if self.folder is None or not (self.folder / "checkpoint.pt").exists():
            return None
        try:
            state = containers.read(self.folder / "checkpoint.pt")
        except SddError as error:
            raise SddError(f"the checkpoint in {self.folder} is damaged; delete that folder and start again") from error
        if not isinstance(state, dict) or state.pop("run", None) != self._digest():
            raise SddError(f"the checkpoint in {self.folder} is not of this run; delete that folder and start again")
        return state

    def start(self, step: int) -> None:
        """Open the log at `step`: what an interrupted run logged after its last checkpoint is dropped."""
        if self.folder is None:
            return
        path = self.folder / "log.jsonl"
        check_target(path)
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        write_text(path, "".join(f"{line}\n" for line in lines if _step(line) <= step))
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step + 1)

    def log(self, step: int, values: dict[str, float]) -> None:
        """One line of `log.jsonl`, and the same to TensorBoard if it is installed."""
        if self.folder is None:
            return
        with _writing(self.folder):
            with (self.folder / "log.jsonl").open("a") as file:
                file.write(json.dumps({"step": step, **{k: float(f"{v:.6g}") for k, v in values.items()}}) + "\n")
            if self._board is not None:
                for name, value in values.items():
                    self._board.add_scalar(name, value, step)

    def grid(self, step: int, rows: list[Tensor]) -> None:
        """A picture of rows of images, each (B, 3, S, S) in [-1, 1], as `step-000123.png`."""
        if self.folder is None:
            return
        from PIL import Image

        joined = torch.cat([torch.cat(list(row), -1) for row in rows], -2)
        pixels = ((joined.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
        with atomic_path(self.folder / f"step-{step:06d}.png") as aside:
            Image.fromarray(pixels).save(aside, format="PNG")

    def close(self) -> None:
        """Flush what is buffered, and let others train in the folder."""
        board, self._board = self._board, None
        try:
            if board is not None and self.folder is not None:
                with _writing(self.folder):
                    board.close()
        finally:
            self._release()

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def __del__(self) -> None:
        self._release()


def _locked(folder: Path) -> int | None:
    """The folder, made if need be and locked until this is closed; a killed process lets go of it by itself.

    None where the system or the disk knows no locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SddError(f"cannot write to {folder} ({error.strerror}); choose another run folder") from error
    if fcntl is None:
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise SddError(f"another training is running in {folder}; wait for it, or name another run folder") from error
    except OSError:
        os.close(handle)
        return None
    return handle


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SddError(f"cannot write to {folder} ({error.strerror or error}); the last checkpoint is whole") from error


def _step(line: str) -> float:
    """The step of a line of the log; infinite for what is none: a kill can leave half a line."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return math.inf
    return step if isinstance(step, int) else math.inf
