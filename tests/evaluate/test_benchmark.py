"""The benchmark end to end on a random domain: figures that must come out whatever the weights are."""

import json
import re

import pytest
import torch

from sdd.domains import avatars
from sdd.domains.avatars.truth import AVATARS
from sdd.domains.domain import Domain
from sdd.editor import Editor
from sdd.editor_file import EditorInfo
from sdd.errors import SddError
from sdd.evaluate import command
from sdd.evaluate.bars import Bar
from sdd.evaluate.command import finish
from sdd.evaluate.kept_editors import Editors
from sdd.evaluate.machine import machine
from sdd.evaluate.page import main, read
from sdd.evaluate.prompts import PROMPTS, prompt, reads, subjects
from sdd.evaluate.tables import ablation, guidances, limits, manipulators, methods, search, sooner, speed
from sdd.evaluate.tables.editors import editing, summed
from sdd.evaluate.tables.judging import judging
from sdd.evaluate.tables.reconstruction import reconstruction
from sdd.evaluate.trial import Subjects, trial
from sdd.manipulators.backbone import Backbone
from sdd.nets.compact import CompactEncoder
from sdd.nets.mapper_kinds import build_mapper
from sdd.nets.stylegan2 import Generator
from sdd.training.config import DEPARTURES, PAPER, DistillConfig, departures
from toy import ToyTeacher, toy_domain
from untrained import untrained_judge


@pytest.fixture(scope="module")
def judge():
    torch.manual_seed(0)
    return untrained_judge()


@pytest.fixture(scope="module")
def domain():
    torch.manual_seed(1)
    generator = Generator(128, style_dim=16, n_mlp=2, channels={4: 16, 8: 16, 16: 8, 32: 8, 64: 8, 128: 8})
    encoder = CompactEncoder(128, generator.n_latent, 16, channels=(8, 16, 16, 16))
    for net in (generator, encoder):
        net.eval().requires_grad_(False)
    mean, std = torch.zeros(generator.n_latent, 16), torch.ones(generator.n_latent, 16)
    return Domain(
        name="avatars", image_size=128, teacher="", backbone=Backbone(generator, encoder, mean, std, "a" * 64),
        draw=lambda n, seed, split: avatars.render(avatars.sample(n, seed, split)),
    )  # fmt: skip


def test_the_worst_prompt_is_the_one_with_the_least_mean():
    people = [{"success": [1, 1], "gain": [0.9, 0.1]}, {"success": [1, 0], "gain": [0.3, 0.5]}]
    figures, intervals = summed([{"people": p} for p in people])
    assert figures["worst_success"] == 0.5 and figures["worst_gain"] == pytest.approx(0.4)
    assert figures["gain"] == pytest.approx(0.45) and intervals["gain"][0] <= 0.45 <= intervals["gain"][1]


def idle(text, domain):
    """An editor that changes nothing: it draws what its manipulator sees."""
    shape = {"n_latent": domain.generator.n_latent, "style_dim": 16, "levels": ["coarse"], "hidden": 8, "depth": 1}
    mapper = build_mapper({"kind": "levels", **shape})
    kind = {"kind": "stylegan", "mapper": mapper.config()}
    info = EditorInfo(
        prompt=text, domain="avatars", generator=domain.backbone.generator_hash, manipulator=kind, timesteps=[750]
    )
    return Editor(mapper, info, domain)


@pytest.fixture
def editors(domain, tmp_path):
    """Kept editors that change nothing."""
    kept = Editors(tmp_path / "editors", domain)
    for asked in PROMPTS[::9]:
        idle(asked.text, domain).save(kept.path(asked.text, 0, {}))
    return kept


class Oracle:
    """In place of an editor: it knows the answer, and goes the share of the way that the strength says."""

    def __init__(self, there):
        self.there = there

    def __call__(self, images, strength):
        if strength == 0 or len(images) != len(self.there.images):
            return images
        answers = torch.stack([c[0] for c in self.there.counterfactuals])
        return images + strength * (answers - self.there.images)


def test_there_are_prompts_for_every_kind_of_attribute():
    assert len(PROMPTS) >= 16 and len({p.text for p in PROMPTS}) == len(PROMPTS)
    kinds = {"hair_color", "hair", "facial_hair", "accessories", "mouth", "brows", "hat", "skin_color", "clothes_color"}
    assert kinds | {"tilt"} <= {p.attribute for p in PROMPTS}
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


@pytest.mark.parametrize("text", ["white hair", "a turban"])
def test_whoever_knows_the_answer_is_perfect_in_everything(judge, monkeypatch, text):
    """An exact edit, linear in its strength, that leaves the picture alone at 0."""
    there = Subjects.make(prompt(text), AVATARS, judge, 3, 5)
    monkeypatch.setattr("sdd.evaluate.trial.returned", lambda there, blend=True: Oracle(there))
    found = trial(there, there, judge)  # the "editor" is what the oracle is made of
    people = {name: sum(values) / len(values) for name, values in found.people.items()}
    exact = {"editability": 1, "gain": 1, "drift": 0, "drift_colour": 0, "uniformity": 1, "monotonicity": 1}
    for name, value in exact.items():
        assert people[name] == pytest.approx(value, abs=1e-4), name
    for name in ("fidelity", "composition", "composition_10", "reversibility"):
        assert people[name] > 115, name
    gains = [point["gain"] for point in found.curve[:5]]
    if all(len(options) == 1 for options in there.counterfactuals):
        assert gains == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=1e-4)
    else:  # half way to one answer, another may be nearer
        assert all(gain >= line - 1e-4 for gain, line in zip(gains, [0, 0.25, 0.5, 0.75, 1], strict=True))
    assert all(len(values) == 3 for values in found.people.values())
    assert ("delta_e" in people) == (text == "white hair")
    if "delta_e" in people:
        assert [people[name] for name in ("delta_e", "red", "green", "blue")] == pytest.approx([0] * 4, abs=1e-3)


def test_a_redrawn_picture_is_judged_against_the_one_given(domain, judge, editors, tmp_path):
    """An editor that changes nothing but redraws by random networks: as drawn everything it spoils counts, and laid
    into the source nothing is left of it."""
    pytest.importorskip("torchmetrics")
    found = editing(domain, judge, editors, 3, 0, PROMPTS[::9], tmp_path / "images")
    for row in found["rows"]:
        asked = prompt(row["prompt"])
        there = Subjects.make(asked, AVATARS, judge, 3, 0)
        redrawn = idle(row["prompt"], domain)(there.images, blend=False)
        answers = [options[0] for options in there.counterfactuals]
        if all(len(options) == 1 for options in there.counterfactuals):
            for y, x, c, gain in zip(redrawn, there.images, answers, row["people"]["drawn_gain"], strict=True):
                assert gain == pytest.approx(1 - float((y - c).abs().sum() / (x - c).abs().sum()), rel=1e-3)
        assert max(row["people"]["drawn_gain"]) < 0
        assert row["people"]["gain"] == [0] * 3 and row["people"]["side_effects"] == [0] * 3
        assert min(row["people"]["composition_10"]) == pytest.approx(120)
        assert (tmp_path / "images" / f"{row['prompt'].replace(' ', '-')}.png").stat().st_size < 200_000
    means = [sum(row["people"]["drawn_gain"]) / 3 for row in found["rows"]]
    assert found["figures"]["drawn_gain"] == pytest.approx(sum(means) / len(means), rel=1e-3)
    low, high = found["intervals"]["drawn_gain"]
    assert low <= found["figures"]["drawn_gain"] <= high


def test_a_bar_missed_by_a_hair_does_not_look_reached():
    bar = Bar("gain", "editors", "gain", 0.6)
    shown = [bar.row({"editors": {"figures": {"gain": gain}}})[1:] for gain in (0.59993, 0.6, 0.5)]
    assert shown == [["≥ 0.60", "0.5999", "**no**"], ["≥ 0.60", "0.60", "yes"], ["≥ 0.60", "0.50", "**no**"]]
    with_interval = {"editors": {"figures": {"gain": 0.7}, "intervals": {"gain": (0.61, 0.792)}}}
    assert bar.row(with_interval)[2] == "0.70 [0.61, 0.79]"


def test_kept_editors_are_told_apart_by_all_that_makes_them(domain, tmp_path, monkeypatch):
    kept = Editors(tmp_path, domain)
    paths = {
        kept.path("smile", 0, {}),
        kept.path("smile", 1, {}),
        kept.path("sad", 0, {}),
        kept.path("smile", 0, {"lr": 0.1}),
    }
    assert len(paths) == 4 and kept.path("smile", 0, {"steps": "auto"}) in paths  # a default said aloud changes nothing
    monkeypatch.setattr("sdd.evaluate.kept_editors.training_code", lambda: "other code")
    assert kept.path("smile", 0, {}) not in paths


# The ablation


def test_each_row_of_the_ablation_differs_by_its_departure_alone():
    rows = ablation.configurations(60)
    assert len(rows) == 2 * len(DEPARTURES)  # paper, default, and each departure but pace twice
    settings = {name: DistillConfig.make(None, **options) for name, options in rows.items()}
    assert {(s.steps, s.batch, s.images, s.search_images) for s in settings.values()} == {(60, 8, 128, 12)}
    held = {"steps", "batch", "images", "search_images", "preset", "checkpoint_every", "grid_every"}
    for name, (options, _) in DEPARTURES.items():
        if name == "pace":
            continue
        for base, row in (("paper", f"paper + {name}"), ("default", f"default − {name}")):
            differ = {o for o in DistillConfig.model_fields if getattr(settings[base], o) != getattr(settings[row], o)}
            assert differ and differ <= set(options), row
            for option in differ - held:
                wanted = getattr(DistillConfig(), option) if base == "paper" else PAPER[option]
                assert getattr(settings[row], option) == wanted
    assert set(departures(settings["paper"])) <= {"pace", "search"}  # search: of as many images as the others


def rows_of(gains):
    """Cells of an ablation of two prompts and two seeds; gains by row."""
    same = {
        "editability": 0.5,
        "fidelity": 30.0,
        "success": 1.0,
        "side_effects": 0.0,
        "best_gain": 0.9,
        "drawn_gain": -1.0,
    }
    return [
        {"row": row, "prompt": text, "seed": seed, "gain": gain + 0.1 * seed + (text == "smile"), **same}
        for row, gain in gains.items()
        for text in ("white hair", "smile")
        for seed in (0, 1)
    ]


def test_what_a_departure_buys_is_paired_and_said_in_words():
    rows = rows_of({"paper": 0.1, "paper + mask": 0.1, "paper + units": 0.3, "default": 0.5, "default − mask": 0.7})
    bought = ablation.bought(rows, "paper + units", "paper", "gain")
    assert (bought.value, bought.low, bought.high) == pytest.approx((0.2, 0.2, 0.2))  # prompts and seeds cancel
    # A training that only one of the two has is left out of their difference.
    assert ablation.bought(rows[:-1], "default", "default − mask", "gain").value == pytest.approx(-0.2)
    part = {**ablation.summed(rows), "n": 2, "seed": 5, "command": "x", "machine": MACHINE}
    text = "\n".join(ablation.section(part, None))
    assert "units (+0.20 [+0.20, +0.20]) for the better; none for the worse" in text
    assert "**Buy nothing in gain** (the interval of the difference includes zero): mask." in text
    assert "none for the better; mask (-0.20 [-0.20, -0.20]) for the worse" in text


def test_a_finished_cell_is_not_measured_again(domain, judge, tmp_path, monkeypatch):
    monkeypatch.setattr(ablation, "_bench", lambda folder: (Editors(folder, domain), judge))
    monkeypatch.setattr(ablation, "embedded", lambda: domain)
    trained = []

    def get(self, text, seed=0, **options):
        trained.append((text, seed))
        return idle(text, domain)

    monkeypatch.setattr(Editors, "get", get)
    rows = {name: options for name, options in ablation.configurations(2).items() if name in ("paper", "default")}
    cells = ablation.cells_of(rows, ["white hair"], 2, 2, 5)
    with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):

        def stop(rows):
            if len(rows) == 3:
                raise KeyboardInterrupt

        broken.setattr(ablation.CONSOLE, "print", lambda text: None)
        ablation.ablation(cells, tmp_path, 1, stop)
    assert len(trained) == 3
    found = ablation.ablation(cells, tmp_path, 1)
    assert len(trained) == 4 and len(found["rows"]) == 4
    assert [(r["row"], r["seed"]) for r in found["rows"]] == [(c.row, c.seed) for c in cells]
    assert {c.people for c in cells} == {5}


# The page

MACHINE = {"date": "2026-01-01", "cpu": "a", "cores": 1, "threads": 1, "torch": "2"}


def searched():
    """Two prompts for which the printed score gives one S and the default's two."""
    rows = []
    for text, high in (("sad", 400), ("smile", 700)):
        for gradient, weighted, scale in (("image", False, 1.0), ("latent", True, 5.0)):
            chosen = [50, 100, 150] if gradient == "image" else [100, high]
            agreement = 1.0 if gradient == "image" else 0.25
            rows.append(
                {"prompt": text, "gradient": gradient, "weighted": weighted, "scale": scale, "chosen": chosen,
                 "agreement": agreement, "seconds": 1.0}
            )  # fmt: skip
    return {"figures": {"agreement": 0.25}, "rows": rows, "default": ["latent", True, 5.0]}


def test_the_search_says_that_the_printed_score_tells_prompts_hardly_apart():
    text = "\n".join(search.section({**searched(), "n": 2, "seed": 0, "command": "x", "machine": MACHINE}, None))
    assert "chooses 1 different S for 2 prompts: 50–150 for every one; the default's chooses 2" in text
    assert "agree to 0.25" in text and "a departure from the paper" in text
    assert "| image (Equation 8) | – | 1 | 50–150 | 50–150 | 1.00 |" in text
    assert "| latent (default) | w(t) | 5 | 100, 400 | 100, 700 | 0.25 |" in text


def test_figures_become_a_page(domain, judge, editors, tmp_path):
    pytest.importorskip("torchmetrics")
    out = tmp_path / "figures"
    finish("judge", judging(judge, 6, 0), 6, 0, out)
    finish("reconstruction", reconstruction(domain, judge, 6, 0), 6, 0, out)
    finish("editors", editing(domain, judge, editors, 2, 0, PROMPTS[:1]), 2, 0, out, 2)
    point = {"success": [1.0, 0.0], "side_effects": [0.0, 0.1], "editability": [0.5, 0.7], "fidelity": [30.0, 31.0]}
    people = {**point, "gain": [0.25, 0.75]}
    guided = {
        "figures": {"gain_sds": 0.5}, "rows": [
            {"guidance": g, "prompt": "sad", "seed": 0, "people": people} for g in guidances.GUIDANCES
        ] + [{"guidance": "dds", "fidelity": 2.0, "prompt": "sad", "seed": 0, "people": people}],
        "options": {"steps": 4, "images": 8}, "default": {"guidance": "dds", "fidelity": 1.0},
    }  # fmt: skip
    finish("guidance", guided, 2, 0, out, guidances.EDITION)
    kinds = [
        {
            "kind": "stylegan",
            "prompt": "sad",
            "seconds": 3.0,
            "edit_seconds": 0.01,
            "people": {**people, "composition": [99.0]},
        }
    ]
    finish("manipulators", {"figures": {"gain_stylegan": 0.5}, "rows": kinds}, 2, 0, out, manipulators.EDITION)
    finish("search", searched(), 2, 0, out, search.EDITION)
    finish("ablation", ablation.summed(rows_of({"paper": 0.1, "paper + mask": 0.2})), 2, 5, out, ablation.EDITION)
    curve = [{"strength": s, "gain": s / 2, "editability": s, "fidelity": 30.0} for s in (0.5, 1.0)]
    hqs = {
        "figures": {"spearman": 1.0, "gain_largest": 0.5, "gain_random": 0.4},
        "rows": [{"prompt": "sad", "spearman": 1.0, "hqs": {"50": 0.1, "750": 0.9}, "gain": {"50": 0.0, "750": 0.5}}],
        "curves": [{"prompt": "sad", "strategy": s, "seed": 0, "curve": curve} for s in ("random", "largest")],
        "steps": 5,
    }
    finish("hqs", hqs, 2, 0, out)  # of the edition before gain was against the source
    main(out, tmp_path / "avatars.md")
    text = (tmp_path / "avatars.md").read_text()
    assert "| `sdd --help` | ≤ 0.70 s | not measured | – |" in text
    assert "Table `speed`: not measured" in text and "benchmark speed` measures it" in text
    assert "--n 6 --seed 0`: 6 people, seed 0" in text and "images/hqs.png" in text
    assert "largest > random" in text and "unedited reconstruction, unlike in all other tables" in text
    assert "| sds | 50.0 % [" in text and "| 0.50 [0.25, 0.75] |" in text
    assert re.search(r"\| paper \+ mask \| [1-9]\d* \| 100\.0 % \[100\.0, 100\.0\] \|", text)
    assert {"cpu", "date", "torch"} <= set(json.loads((out / "judge.json").read_text())["machine"])


def test_a_search_that_ends_sooner_is_compared_on_its_own_pictures():
    found = sooner.comparing(toy_domain(), ToyTeacher(), 32, 0, ["red"])
    assert len(found["rows"]) == 6 and all(row["share"] in (0.5, 1.0) for row in found["rows"])
    assert all(row["decisions"] == row["jaccard"] == 1 for row in found["rows"] if row["share"] == 1)
    for preset in sooner.PRESETS:  # who wants to be surer looks at more
        shares = [row["share"] for row in found["rows"] if row["preset"] == preset]
        assert shares == sorted(shares)
    part = {"command": "x", "n": 32, "seed": 0, "machine": machine(), **found}
    assert "| `paper` | 0.9 |" in "\n".join(sooner.section(part, None))


def test_what_editors_do_not_do_is_said():
    """Prompts that often fail, those the source is nearer to, and what else changes often; nothing else."""
    weak = {
        "prompt": "angry",
        "people": {"success": [1, 0], "gain": [-1.0, 0.5]},
        "changed": {"eyes": 0.5, "hair": 0.04},
    }
    good = {"prompt": "bald", "people": {"success": [1, 1], "gain": [0.5, 0.5]}, "changed": {"brows": 0.09}}
    said = "\n".join(limits.section({"rows": [weak, good], "n": 2, "seed": 0}))
    assert "below 90%: *angry* (50.0 %)" in said and "below 0): *angry* (-0.25: -1.00 of the 1 who wear glasses" in said
    unlike = "\n".join(limits.section({"rows": [weak, good], "n": 2, "seed": 1}))  # neither of whom wears any
    assert "below 0): *angry* (-0.25)" in unlike
    assert "| angry | eyes 50.0 % |" in said and "| bald" not in said


def test_figures_of_another_shape_are_said_to_be_stale(tmp_path):
    out = tmp_path / "figures"
    finish("editors", {"figures": {"gain": 0.9}, "rows": []}, 2, 0, out)  # edition 1: gain meant something else
    finish("search", {"figures": {}, "rows": [{"other": 1}]}, 2, 0, out, search.EDITION)
    finish("speed", {"figures": {"train": 20.0}}, 2, 0, out, speed.EDITION)
    main(out, tmp_path / "avatars.md")
    text = (tmp_path / "avatars.md").read_text()
    for name in ("editors", "search", "speed"):
        assert f"Table `{name}`: measured when its figures meant something else" in text
    assert "0.90" not in text and "20.00 s | 20" not in text  # no bar is said to be met by such figures
    assert read(out)[1]["editors"] == "stale" and read(out)[1]["judge"] == "missing"
    (out / "judge.json").write_text("{}")
    with pytest.raises(SddError):
        read(out)


def test_of_a_table_of_some_the_rows_of_others_stay(tmp_path):
    path, seed = tmp_path / "methods.json", methods.REPORTED

    def others(n):
        return command.others("methods", tmp_path, methods.EDITION, n, seed, "method", ["ddib"])

    assert others(2) == []
    rows = [{"method": "sdedit", "prompt": "smile"}, {"method": "ddib", "prompt": "smile"}]
    path.write_text(json.dumps({"edition": methods.EDITION, "n": 2, "seed": seed, "rows": rows}))
    assert others(2) == rows[:1] and others(3) == []
