"""The benchmark end to end on a random domain: figures that must come out whatever the weights are."""

import json

import pytest
import torch

from sdd.domains import avatars
from sdd.domains.domain import Domain
from sdd.editor import Editor, EditorInfo
from sdd.errors import SddError
from sdd.evaluate.bars import Bar
from sdd.evaluate.command import finish
from sdd.evaluate.judge import Judge
from sdd.evaluate.kept_editors import Editors
from sdd.evaluate.page import main, read
from sdd.evaluate.prompts import PROMPTS, prompt, reads, subjects
from sdd.evaluate.tables.editors import _standing, editing
from sdd.evaluate.tables.judging import judging
from sdd.evaluate.tables.reconstruction import reconstruction
from sdd.nets.compact import AttributeClassifier, CompactEncoder
from sdd.nets.mapper_kinds import build_mapper
from sdd.nets.stylegan2 import Generator

HEADS = {n: len(avatars.values(n)) for n in (*avatars.SHAPES, *avatars.COLORS)} | {n: 1 for n in avatars.RANGES}


@pytest.fixture(scope="module")
def judge():
    torch.manual_seed(0)
    return Judge(AttributeClassifier(HEADS, channels=(8, 16, 16, 16, 16)))


@pytest.fixture(scope="module")
def domain():
    torch.manual_seed(1)
    generator = Generator(128, style_dim=16, n_mlp=2, channels={4: 16, 8: 16, 16: 8, 32: 8, 64: 8, 128: 8})
    encoder = CompactEncoder(128, generator.n_latent, 16, channels=(8, 16, 16, 16))
    for net in (generator, encoder):
        net.eval().requires_grad_(False)
    return Domain(
        name="avatars", image_size=128, generator=generator, encoder=encoder,
        latent_mean=torch.zeros(generator.n_latent, 16), latent_std=torch.ones(generator.n_latent, 16),
        generator_hash="a" * 64, teacher="", draw=lambda n, seed, split: avatars.render(avatars.sample(n, seed, split)),
    )  # fmt: skip


@pytest.fixture
def editors(domain, tmp_path):
    """Kept editors that change nothing."""
    kept = Editors(tmp_path / "editors", domain)
    for asked in PROMPTS[::9]:
        config = {
            "kind": "levels",
            "n_latent": domain.generator.n_latent,
            "style_dim": 16,
            "levels": ["coarse"],
            "hidden": 8,
            "depth": 1,
        }
        mapper = build_mapper(config)
        info = EditorInfo(
            prompt=asked.text,
            domain="avatars",
            generator=domain.generator_hash,
            mapper=mapper.config(),
            timesteps=[750],
        )
        Editor(mapper, info, domain).save(kept.path(asked.text, 0, {}))
    return kept


def test_there_are_prompts_for_every_kind_of_attribute():
    assert len(PROMPTS) >= 16 and len({p.text for p in PROMPTS}) == len(PROMPTS)
    kinds = {
        "hair_color",
        "hair",
        "facial_hair",
        "accessories",
        "mouth",
        "brows",
        "hat",
        "skin_color",
        "clothes_color",
        "tilt",
    }
    assert kinds <= {p.attribute for p in PROMPTS}
    known = {w for text in [p.text + " " + p.before for p in PROMPTS] for w in text.split()}
    from sdd.domains.avatars.captions import words

    assert known <= set(words())  # the teacher can read every prompt


@pytest.mark.parametrize("text", ["white hair", "a turban", "head tilted left"])
def test_subjects_lack_what_is_asked_and_their_counterfactuals_have_it(text):
    asked = prompt(text)
    for person in subjects(asked, 4, 0):
        assert not reads(asked.attribute, asked.word, person.attributes[asked.attribute])
        for change in asked.changes:
            answer = person.replace(**change)
            assert reads(asked.attribute, asked.word, answer.attributes[asked.attribute])
            assert answer.visible(asked.attribute)


def test_an_unknown_prompt_is_refused():
    with pytest.raises(SddError):
        prompt("green hair")


def test_an_editor_that_does_nothing_scores_zero(domain, judge, editors, tmp_path):
    pytest.importorskip("torchmetrics")
    found = editing(domain, judge, editors, 3, 0, PROMPTS[::9], tmp_path / "images")
    assert found["figures"]["gain"] == pytest.approx(0, abs=1e-5)
    assert found["figures"]["side_effects"] == 0
    for row in found["rows"]:
        assert row["editability"] == pytest.approx(row["nothing_done"], abs=1e-5)
        assert (tmp_path / "images" / f"{row['prompt'].replace(' ', '-')}.png").stat().st_size < 200_000


def test_strengths_are_ranked_by_bars_met_then_by_nearness():
    met = {"success": 1.0, "worst_success": 0.8, "side_effects": 0.0, "editability": 0.7, "fidelity": 27.0, "gain": 0.4}
    assert _standing(met) == (6, 0)
    assert _standing(met | {"gain": -0.3, "side_effects": 0.1}) == (4, -1.0 + 0.5)
    assert _standing(met | {"success": 0.45}) < _standing(met | {"success": 0.6})


def test_a_bar_missed_by_a_hair_does_not_look_reached():
    bar = Bar("gain", "editors", "gain", 0.6)
    shown = [bar.row({"editors": {"figures": {"gain": gain}}})[1:] for gain in (0.59993, 0.6, 0.5)]
    assert shown == [["≥ 0.60", "0.5999", "**no**"], ["≥ 0.60", "0.60", "yes"], ["≥ 0.60", "0.50", "**no**"]]


def test_figures_become_a_page(domain, judge, editors, tmp_path):
    pytest.importorskip("torchmetrics")
    out = tmp_path / "figures"
    finish("judge", judging(judge, 6, 0), 6, 0, out)
    finish("reconstruction", reconstruction(domain, judge, 6, 0), 6, 0, out)
    finish("editors", editing(domain, judge, editors, 2, 0, PROMPTS[:1]), 2, 0, out)
    curve = [{"strength": s, "gain": s / 2, "editability": s, "fidelity": 30.0} for s in (0.5, 1.0)]
    hqs = {
        "figures": {"spearman": 1.0, "gain_largest": 0.5, "gain_random": 0.4},
        "rows": [{"prompt": "sad", "spearman": 1.0, "hqs": {"50": 0.1, "750": 0.9}, "gain": {"50": 0.0, "750": 0.5}}],
        "curves": [{"prompt": "sad", "strategy": s, "seed": 0, "curve": curve} for s in ("random", "largest")],
        "steps": 5,
    }
    finish("hqs", hqs, 2, 0, out)
    guided = {
        "figures": {"gain_sds": 0.1, "gain_dds": 0.5},
        "curves": [{"guidance": g, "prompt": "sad", "steps": 5, "curve": curve} for g in ("sds", "dds")],
        "default": "dds",
    }
    finish("guidance", guided, 2, 0, out)
    main(out, tmp_path / "avatars.md")
    text = (tmp_path / "avatars.md").read_text()
    assert "| `sdd --help` | ≤ 0.70 s | not measured | – |" in text
    assert "**no**" in text and "--n 6 --seed 0" in text and "images/hqs.png" in text
    assert "largest > random" in text
    assert "dds 0.50 > sds 0.10" in text and "| sds | 0.25 / 0.50 / 30.0 | 0.50 / 1.00 / 30.0 |" in text
    assert {"cpu", "date", "torch"} <= set(json.loads((out / "judge.json").read_text())["machine"])
    (out / "judge.json").write_text("{}")
    with pytest.raises(SddError):
        read(out)
