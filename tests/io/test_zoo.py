"""The zoo: names resolve to files, what is missing is explained, what is wrong is refused."""

import re
from dataclasses import replace

import pytest

from sdd.errors import SddError
from sdd.io import zoo
from sdd.io.checkpoints.load import kinds


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("SDD_HOME", str(tmp_path / "home"))


def test_every_entry_is_complete():
    for name, entry in zoo.ENTRIES.items():
        assert entry.name == name and entry.kind and entry.layout and entry.licence
        assert entry.hub or (entry.url and entry.file), f"{name} comes from nowhere"
        assert entry.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
        # A copy on somebody else's hub page is only trusted because its hash is the original's.
        assert not (entry.hub and entry.url) or entry.sha256, f"{name} would take a mirror unchecked"


def test_domain_presets_name_parts_of_the_right_kind():
    for parts in zoo.DOMAINS.values():
        for part in ("generator", "encoder", "identity", "teacher"):
            assert part not in parts or zoo.ENTRIES[parts[part]].kind == part


def test_kinds_are_those_that_load_knows():
    # What a model is for, where several formats serve.
    parts = {"generator", "encoder", "identity", "face-detector", "vae"}
    assert {entry.kind for entry in zoo.ENTRIES.values()} <= parts | set(kinds())


def test_a_path_resolves_to_itself(tmp_path):
    file = tmp_path / "mine.pt"
    file.write_bytes(b"x")
    assert zoo.resolve(file) == file
    assert zoo.resolve(str(file)) == file


def test_missing_model_says_what_to_download_and_where():
    with pytest.raises(SddError) as error:
        zoo.resolve("afhq-cat")
    message = str(error.value)
    assert zoo.ENTRIES["afhq-cat"].url in message
    assert str(zoo.home() / "models" / "afhqcat.pkl") in message
    assert "\n" not in message


def test_a_file_put_where_the_message_says_is_found():
    entry = zoo.ENTRIES["afhq-cat"]
    assert entry.cached() is None
    entry.path.parent.mkdir(parents=True)
    entry.path.write_bytes(b"generator")
    assert zoo.resolve("afhq-cat") == entry.path == entry.cached()


def test_a_wrong_file_is_refused_by_its_hash(monkeypatch):
    entry = zoo.ENTRIES["ffhq-ada"]
    entry.path.parent.mkdir(parents=True)
    entry.path.write_bytes(b"half a download")
    with pytest.raises(SddError, match="15 bytes but ffhq-ada has 381624121"):
        zoo.resolve("ffhq-ada")
    monkeypatch.setitem(zoo.ENTRIES, "ffhq-ada", replace(entry, size=15))
    with pytest.raises(SddError, match="not the recorded ffhq-ada"):
        zoo.resolve("ffhq-ada")


def test_an_unknown_name_suggests_a_near_one():
    with pytest.raises(SddError, match=r"did you mean .*ffhq"):
        zoo.resolve("fhq")
    with pytest.raises(SddError, match="sdd models"):
        zoo.resolve("zzzzzz.pt")


def test_a_hub_failure_is_one_sentence(monkeypatch):
    import huggingface_hub

    def fail(*_args, **_kwargs):
        raise OSError("no route to host\nlong traceback")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    for name in ("ir-se50", "clip-b32", "owner/name"):
        with pytest.raises(SddError, match="no route to host") as error:
            zoo.resolve(name)
        assert "\n" not in str(error.value)


def test_a_hub_that_cannot_be_reached_is_asked_once(monkeypatch, capfd):
    import huggingface_hub

    asked = []

    def unreachable(url, **_):
        asked.append(url)
        raise OSError("name or service not known")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", unreachable)
    with pytest.raises(SddError, match=r"name or service not known.*put it at"):
        zoo.resolve("ir-se50")
    assert len(asked) == 1 and capfd.readouterr() == ("", "")


def test_a_hub_download_is_checked(monkeypatch, tmp_path):
    import huggingface_hub

    file = tmp_path / "fetched"
    file.write_bytes(b"")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, name, **_: str(file))
    monkeypatch.setitem(zoo.ENTRIES, "ir-se50", replace(zoo.ENTRIES["ir-se50"], sha256=zoo.sha256_file(file), size=0))
    assert zoo.resolve("ir-se50") == file
