"""The command: what it writes is what `sdd edit` writes, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("pyarrow", reason="bulk edits need pyarrow: pip install 'sdd[bulk]'")

import cheap
from cheap import encoded, tree
from sdd.apps.bulk import local, run
from sdd.apps.cli.bulk import _report
from sdd.apps.cli.main import app
from sdd.apps.pictures import Wish, edit_pictures
from sdd.io.pictures.folder import find, output_paths
from sdd.io.pictures.write import save_png


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("e.safetensors").write_bytes(b"e")
    monkeypatch.setattr("sdd.apps.cli.bulk._open", lambda *_: cheap.Cheap())


def sdd(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert "Traceback" not in result.output and result.exit_code == code, result.output
    return result


def test_it_says_what_it_wrote_and_what_it_could_not(tmp_path):
    tree(tmp_path / "in", 20)
    said = sdd("bulk", "in", "-e", "e.safetensors", "-o", "out").stdout
    assert "wrote 20 pictures to out/ (inversion 30.0 dB on average)" in said and "manifest.parquet" in said
    (tmp_path / "in/bad.png").write_bytes(encoded(0)[:50])
    assert "bad.png" in sdd("bulk", "in", "-e", "e.safetensors", "-o", "out", code=2).stderr
    (tmp_path / "in/more.png").write_bytes(encoded(1))
    said = sdd("bulk", "in", "-e", "e.safetensors", "-o", "out").stdout
    assert "wrote 1 picture to" in said and "21 more were done before" in said
    assert "nothing is left to edit" in sdd("bulk", "in", "-e", "e.safetensors", "-o", "out").stdout
    refused = sdd("bulk", "in", "-e", "e.safetensors", "-o", "out", "--strength", "2", code=2).stderr
    assert "made otherwise (strengths [1.0], not [2.0])" in refused
    refused = sdd("bulk", "in", "-e", "e.safetensors", "-o", "out", "--no-register", code=2).stderr
    assert "made otherwise (register None, not False)" in refused
    for more, named in (
        (("--address", "auto"), "--engine ray"),
        (("--face", "all", "--no-blend"), "--face with a number"),
        (("--background", "no colour"), "is not a colour"),
    ):
        assert named in sdd("bulk", "in", "-e", "e.safetensors", "-o", "new", *more, code=2).stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("count", "said"), [(1, "1 picture inverts far"), (3, "3 pictures invert far")])
def test_it_warns_of_pictures_that_come_back_badly(capsys, count, said):
    _report(run.Summary(Path("manifest.parquet"), edited=4, psnr=100.0, foreign=count), Path("out"))
    warning = " ".join(capsys.readouterr().err.split())
    assert said in warning and "unusual framing or background" in warning and "manifest.parquet" in warning


def test_the_same_bytes_as_one_edit_after_another(tmp_path):
    """Pictures of several sizes and one with transparency, laid in; by a toy StyleGAN."""
    import torch
    from PIL import Image

    from sdd.editor import Editor, EditorInfo
    from sdd.nets.mapper_kinds import build_mapper
    from toy import STYLE_DIM, toy_domain

    toy = toy_domain()
    mapper = build_mapper({"kind": "levels", "n_latent": toy.generator.n_latent, "style_dim": STYLE_DIM})
    random = torch.Generator().manual_seed(0)
    for p in mapper.parameters():
        p.data.normal_(generator=random)
    info = EditorInfo(prompt="x", domain="toy", generator=toy.stylegan.generator_hash,
                      manipulator={"kind": "stylegan", "mapper": mapper.config()})  # fmt: skip
    editors = Editor.compose([Editor(mapper, info, toy)])
    for i, image in enumerate(toy.images(5, seed=0, split="test").clamp(-1, 1)):
        save_png(image[:, : 32 - 3 * i], tmp_path / f"in/{i}.png")
    Image.effect_noise((40, 50), 60).convert("LA").save(tmp_path / "in/alpha.png")
    layer = Image.open(tmp_path / "in/alpha.png").convert("RGBA")
    layer.putalpha(Image.effect_noise(layer.size, 90))
    layer.save(tmp_path / "in/alpha.png")
    sources = find([tmp_path / "in"])
    outputs = output_paths(sources, tmp_path / "one")
    edit_pictures(sources, outputs, editors, Wish((0.5,)))
    crew = local.Crew(("cpu",), 2)
    run.bulk([str(tmp_path / "in")], tmp_path / "many", lambda _: editors, Wish((0.5,)), {},
             lambda order, tasks: local.run(order, tasks, crew))  # fmt: skip
    for path in outputs:
        assert path.read_bytes() == (tmp_path / "many" / path.name).read_bytes(), path.name
        assert path.read_bytes() != (tmp_path / "in" / path.name).read_bytes()
