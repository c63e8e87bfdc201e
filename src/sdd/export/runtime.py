"""onnxruntime-web, which runs editors in a browser: from npm, one version, its bytes checked."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from sdd.errors import SddError
from sdd.io.files import write_bytes

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# The registry's own `dist.integrity` of that version.
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
# WebGPU with its WASM, and WASM alone, which is half the size.
FILES = (
    "ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm",
    "ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm",
)  # fmt: skip
PATIENCE = 300  # seconds for npm


def fetch() -> bytes:
    """The package as npm has it, a tar archive.

    Raises:
        SddError: there is no npm, it fails, or what came is not that package.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise SddError(
            f"npm is not here, which fetches {PACKAGE} {VERSION}; install Node.js, or give the package's archive, or "
            f"its folder, with --runtime"
        )
    with tempfile.TemporaryDirectory() as folder:
        try:
            command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--ignore-scripts"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SddError(
                f"npm could not fetch {PACKAGE} {VERSION} ({error}); try again, or give it with --runtime"
            ) from error
        found = list(Path(folder).glob("*.tgz"))
        if done.returncode or len(found) != 1:
            why = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
            raise SddError(f"npm could not fetch {PACKAGE} {VERSION} ({why}); try again, or give it with --runtime")
        return found[0].read_bytes()


def files_of(archive: bytes, label: str) -> dict[str, bytes]:
    """The files that a page needs, from the package's archive, which must be that of the pinned version.

    Raises:
        SddError: another archive.
    """
    digest = "sha512-" + base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if digest != INTEGRITY:
        raise SddError(
            f"{label} is not {PACKAGE} {VERSION} as its authors published it (its SHA-512 differs); fetch it again: "
            f"npm pack {PACKAGE}@{VERSION}"
        )
    import io

    with tarfile.open(fileobj=io.BytesIO(archive)) as package:
        return {name: _member(package, name) for name in FILES}


def _member(package: tarfile.TarFile, name: str) -> bytes:
    file = package.extractfile(f"package/dist/{name}")
    assert file is not None, "the archive's hash says what is in it"
    return file.read()


def find(given: Path | None) -> dict[str, bytes]:
    """The files that a page needs, from an archive or a folder that was given, else from npm.

    A folder is one's own (`node_modules/onnxruntime-web`), and is taken as it is.

    Raises:
        SddError: they are not there.
    """
    if given is None:
        return files_of(fetch(), "what npm fetched")
    if given.is_file():
        return files_of(given.read_bytes(), str(given))
    folder = given / "dist" if (given / "dist").is_dir() else given
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise SddError(
            f"{given} is no {PACKAGE}: there is no {missing[0]} in it; npm pack {PACKAGE}@{VERSION} fetches one"
        )
    return {name: (folder / name).read_bytes() for name in FILES}


def write(files: dict[str, bytes], folder: Path) -> None:
    """Write them into a folder."""
    for name, data in files.items():
        write_bytes(folder / name, data)
