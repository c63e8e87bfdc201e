"""The Hugging Face hub as a place for one file: fetch an editor's, and upload a folder with it.

huggingface_hub's `ModelHubMixin` does not fit: it writes a config.json beside the one file that says everything, and,
before any code of ours, reads a stranger's config.json without a limit and hands its values on as arguments. What it
calls (`hf_hub_download`, `create_repo`, `upload_folder`) is called here, behind the names that it gave them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sdd.errors import SddError, one_line

FILE = "editor.safetensors"


def download(name: str | Path, filename: str = FILE, **options: Any) -> Path:
    """The file of a repository (`user/name`) or of a folder; a path to a file is taken as it is.

    Args:
        options: of `huggingface_hub.hf_hub_download`: revision, token, cache_dir, force_download, local_files_only.

    Raises:
        SddError: there is no such file, or the hub cannot be reached.
    """
    path = Path(name)
    if path.is_dir():
        if not (path / filename).is_file():
            raise SddError(f"there is no {filename} in {path}; save_pretrained writes one")
        return path / filename
    if path.is_file():
        return path
    from huggingface_hub import hf_hub_download

    try:
        if not options.get("local_files_only") and not _reached(str(name), filename, options):
            options |= {"local_files_only": True, "force_download": False}
        return Path(hf_hub_download(str(name), filename, **options))
    except Exception as error:
        raise SddError(_why(str(name), error, f"hold {filename}")) from error


def ask(repo: str, filename: str, **options: Any) -> None:
    """Ask the hub for a file once: offline, a download would try again and again for half a minute.

    Args:
        options: revision and token, as huggingface_hub has them.

    Raises:
        Exception: the client's own, of which there are many.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(repo, filename, revision=options.get("revision"))
    get_hf_file_metadata(url, token=options.get("token"))


def upload(folder: Path, repo: str, message: str, private: bool | None, **options: Any) -> str:
    """Upload the files of a folder to a repository, which is made if there is none; the commit's address.

    Args:
        options: token, branch, create_pr, as huggingface_hub has them.

    Raises:
        SddError: the hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi

    try:
        api = HfApi(token=options.pop("token", None))
        name = api.create_repo(repo, private=private, exist_ok=True).repo_id
        done = api.upload_folder(
            repo_id=name, folder_path=folder, commit_message=message, revision=options.pop("branch", None), **options
        )
    except Exception as error:
        raise SddError(_why(repo, error, "take files")) from error
    return str(done)


def _reached(repo: str, filename: str, options: dict[str, Any]) -> bool:
    """Whether the hub answers at all; what it refuses is raised."""
    from huggingface_hub import errors

    try:
        ask(repo, filename, **options)
    except (errors.HfHubHTTPError, errors.HFValidationError):
        raise
    except Exception:  # the network's own, of which there are many
        return False
    return True


def _why(repo: str, error: Exception, what: str) -> str:
    from huggingface_hub import errors

    said = one_line(repo, 100)
    match error:
        case errors.HFValidationError():
            return f"{said!r} is neither a folder nor the name of a repository, which is user/name"
        case errors.EntryNotFoundError() if not isinstance(error, errors.LocalEntryNotFoundError):
            return f"the repository {said!r} does not {what}; is it one of an sdd editor?"
        case errors.RepositoryNotFoundError() | errors.GatedRepoError():
            return f"there is no repository {said!r} on the hub that you may use; check its name, or run: hf auth login"
        case errors.RevisionNotFoundError():
            return f"the repository {said!r} has no such revision"
        case errors.LocalEntryNotFoundError() | errors.OfflineModeIsEnabled():
            return f"{said!r} is neither a folder here nor kept from an earlier download, and the hub cannot be reached"
    return f"the hub does not {what} for {said!r} ({type(error).__name__}: {one_line(str(error), 160)}); try again"
