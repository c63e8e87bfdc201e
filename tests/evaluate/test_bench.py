"""The papers' tables and figures: what is made of points whose answers are known by hand, and cells that are kept."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from sdd.apps.cli.main import app
from sdd.beyond.information import log_snr_slope
from sdd.domains.embedded import embedded
from sdd.errors import SddError
from sdd.evaluate import indicators
from sdd.evaluate.bench import (
    encoding,
    estimates,
    fig1,
    fig4,
    index,
    points,
    proxies,
    second,
    table1,
    table3,
    timesteps,
)
from sdd.evaluate.bench.cells import Bench
from sdd.evaluate.bench.costs import CALLS, Cost, calls_of, cost_rows, real_sizes
from sdd.evaluate.bench.experiment import Experiment, Size, claim, command, find, write
from sdd.evaluate.bench.names import NAMES
from sdd.evaluate.bench.points import Curve, bootstrap, chosen, common, curves, reach
from sdd.evaluate.bench.single_steps import DESCENT
from sdd.evaluate.niqe import niqe
from sdd.manipulators.inversion import psnr
from sdd.methods.effdiff import noise_of
from sdd.methods.models import Models
from sdd.methods.of_domain import models_of
from sdd.methods.pixel_diffusion import PixelDiffusion
from sdd.methods.protocol import Fitted, Knob
from sdd.methods.tuned import fitting
from sdd.training.config import DistillConfig
from toy import ToyTeacher, toy_domain
from untrained import untrained_judge


def bench(tmp_path, **more):
    return Bench(None, None, None, tmp_path, **more)


# --- Cells -----------------------------------------------------------------------------------------------------------


def test_a_cell_is_measured_once_and_again_when_what_it_follows_from_changes(tmp_path):
    seen = []

    def measure(cell):
        seen.append(cell["k"])
        return {"value": 2 * cell["k"]}

    cells = [{"k": k} for k in range(3)]
    first = bench(tmp_path).measured("x", cells, measure, lambda cell: "code 1")
    again = bench(tmp_path).measured("x", cells, measure, lambda cell: "code 1")
    assert first == again == [{"k": k, "value": 2 * k} for k in range(3)] and seen == [0, 1, 2]
    bench(tmp_path).measured("x", cells[:1], measure, lambda cell: "code 2")
    assert seen == [0, 1, 2, 0]


def test_what_is_missing_is_said_and_not_kept(tmp_path):
    def fails(cell):
        raise SddError("there is no model; give one")

    here = bench(tmp_path)
    assert here.measured("x", [{"k": 1}], fails, lambda c: 0) == [{"k": 1, "why": "there is no model; give one"}]
    assert here.measured("x", [{"k": 1}], lambda c: {"v": 3}, lambda c: 0) == [{"k": 1, "v": 3}]


def test_when_time_is_over_kept_cells_are_still_read(tmp_path):
    bench(tmp_path).measured("x", [{"k": 1}], lambda c: {"v": 1}, lambda c: 0)
    late = bench(tmp_path, until=0.0)
    assert late.measured("x", [{"k": 1}, {"k": 2}], lambda c: {"v": 2}, lambda c: 0) == [{"k": 1, "v": 1}]
    assert late.left == 1


# --- Figure 1 --------------------------------------------------------------------------------------------------------


def test_reach_is_the_best_that_keeps_enough():
    e, f = np.array([0.2, 0.6, 0.9]), np.array([40.0, 30.0, 20.0])
    assert reach(e, f, [15, 20, 25, 35, 41]).tolist() == [0.9, 0.9, 0.6, 0.2, 0.0]
    assert reach(-e, f, [15]).tolist() == [0.0]  # nothing done is always there


def test_between_two_values_of_a_knob_squared_errors_are_straight():
    e, f = points.filled(np.array([0.0, 0.8]), np.array([120.0, 30.0]), steps=2)
    assert e.tolist() == pytest.approx([0.0, 0.4, 0.8])
    assert f.tolist() == pytest.approx([120, 33.01, 30], abs=0.01)  # half the squared error: 3 dB


def row(way, text, knob, e, f, **more):
    people = {
        "editability": [e] * 3, "fidelity": [f] * 3, "gain": [e] * 3, "success": [float(e > 0.5)] * 3,
        "side_effects": [0.0] * 3, "clip": [e / 2] * 3, "distance": [40 - f] * 3,
    }  # fmt: skip
    return {"way": way, "prompt": text, "knob": knob, "people": people, "laid": people, "seconds": 1.0, **more}


def rows_of(lead):
    """SDD ahead of SDEdit by `lead` at every level that both keep."""
    made = []
    for text in ("white hair", "smile"):
        for knob, e, f in ((0.5, 0.4, 42.0), (1.0, 0.7, 41.0)):
            made.append(row("sdd", text, knob, e, f) | {"drawn": row("sdd", text, knob, e, f - 8)["people"]})
            made.append(row("sdedit", text, knob, e - lead, f))
    return made


@pytest.mark.parametrize(("lead", "holds"), [(0.1, True), (-0.1, False)])
def test_a_lead_at_every_fidelity_is_found_and_so_is_a_lag(lead, holds):
    made = fig1.summed({"rows": rows_of(lead)})
    areas = {label: area[0] for label, area in made["areas"]["people"].items()}
    assert areas["sdd"] == pytest.approx((0.7 * 22 + 0.4) / 26)  # 0.7 from 20 to 41 dB, 0.4 at 42, 0 to 45
    assert areas["sdedit"] == pytest.approx(((0.7 - lead) * 22 + 0.4 - lead) / 26)
    assert areas["sdd, as drawn"] == pytest.approx((0.7 * 14 + 0.4) / 26)  # 20…33 dB, and 34
    said = [c for c in made["claims"] if "as each method" in c["claim"]]
    assert [c["holds"] for c in said] == [holds] and said[0]["value"] == pytest.approx(lead)


def test_curves_are_of_the_prompts_that_all_have_whole():
    rows = rows_of(0.1)[:-1]  # SDEdit lacks a point of "smile"
    some = common(curves(rows))
    assert [(c.label, list(c.editability)) for c in some] == [("sdd", ["white hair"]), ("sdedit", ["white hair"])]
    assert common([]) == [] and fig1.summed({"rows": []}) == {"areas": {}, "claims": []}


def test_people_are_resampled_together():
    noise = np.random.default_rng(0).normal(size=(1, 40))
    one = Curve("a", (1.0,), {"t": 0.5 + noise}, {"t": np.full((1, 40), 30.0)})
    two = Curve("b", (1.0,), {"t": 0.4 + noise}, {"t": np.full((1, 40), 30.0)})
    _, (a, b) = bootstrap([one, two], [25.0], draws=200)
    kept = (a > 0) & (b > 0)
    assert np.allclose((a - b)[kept], 0.1) and a.std() > 0.05


def test_the_best_knob_is_that_of_validation():
    assert chosen(rows_of(0.1))["sdd", "smile"] == 1.0
    assert chosen([{"way": "x", "prompt": "y", "why": "no model"}]) == {}


class Knows(Fitted):
    """It gives the right answer where its knob is 1, and the picture back where it is 0."""

    def __init__(self, there):
        self.answers = torch.stack([c[0] for c in there.counterfactuals])

    def edit(self, images, knob=None, seed=0, report=None):
        return images + knob * (self.answers - images)


class Way:
    """A method that needs nothing."""

    label = name = "knows"
    options: ClassVar = {}

    def make(self):
        return SimpleNamespace(card=SimpleNamespace(needs=(), trains="", knob=Knob("share", 1.0, (0.0, 1.0), "")))


def test_points_of_the_right_answer_and_of_nothing(tmp_path, monkeypatch):
    torch.manual_seed(0)
    judge = untrained_judge()
    here = Bench(SimpleNamespace(identity=None, backbone=None), judge, Models(), tmp_path)
    monkeypatch.setattr(points, "fitted", lambda b, way, text: Knows(b.subjects(text, 1, 3)))
    rows = points.points(here, "x", [Way()], ["white hair"], 1, 3)
    assert [row["knob"] for row in rows] == [0.0, 1.0]
    nothing, right = (row["people"] for row in rows)
    assert nothing["gain"] == [0] and nothing["fidelity"] == [120] and nothing["side_effects"] == [0]
    assert right["gain"] == pytest.approx([1], abs=1e-5) and right["fidelity"] == pytest.approx([120])
    assert rows[0]["laid"]["gain"] == [0] and min(rows[1]["laid"]["gain"]) > 0.9
    few = points.values_of(Way(), True)
    assert few == (0.0, 1.0)


# --- Costs -----------------------------------------------------------------------------------------------------------


def test_costs_are_those_of_the_equations():
    own, base = Cost("sdd", 60.0, 0.1), Cost("sdedit", 0.0, 1.1)
    assert base.total(100, 10) == pytest.approx(1100) and own.total(100, 10) == pytest.approx(10 * 60 + 100)
    rows = cost_rows([own, base], base)
    assert rows[0][-1] == "60" and rows[1][-1] == "–"
    slow = cost_rows([Cost("slow", 60.0, 2.0)], base)
    assert slow[0][-1] == "never" and cost_rows([Cost("?", math.nan, 0.1)], base)[0][1] == "not measured"


def test_calls_are_counted():
    calls = {name: 0.0 for name in CALLS} | {"unet": 1.0}
    made = {c.label: c for c in real_sizes(calls, {"paper": DistillConfig.make("paper"), "default": DistillConfig()})}
    assert made["SDEdit, 50 steps"].infer == 100  # two prompts a step
    assert made["SDD, paper (4000 steps of 2)"].train == 200 * 19 + 4000 * 2 * 2
    assert made["SDD, default (100 steps of 8)"].train == 12 * 19 * 2 + 100 * 8 * 4


@pytest.mark.parametrize("given", [["unet"], ["unet=x"], ["unet=-1"], ["unet=nan"], ["tea=1"], ["unet=1"]])
def test_calls_that_are_none(given):
    with pytest.raises(SddError):
        calls_of(given)


def test_table1_says_what_it_cost_and_who_leads():
    rows = [row("sdd", "smile", 1.0, 0.7, 40.0), row("sdedit", "smile", 0.5, 0.5, 26.0)]
    found = {
        "rows": rows, "labels": ["sdd", "sdedit", "diffae"], "costs": {"sdd": [30.0, 0.1], "sdedit": [0.0, 1.1]},
        "calls": {}, "prompts": ["smile"], "n": 3, "people_seed": 1, "validation_seed": 5, "validation_n": 3,
        "quick": True,
    }  # fmt: skip
    made = {c["claim"]: c for c in table1.claims(found)}
    assert made["SDD is nearer to what was asked than sdedit (gain, as each gives it back)"]["value"] == pytest.approx(
        0.2
    )
    paid = next(c for c in made.values() if "pays from at most 60" in c["claim"])
    assert paid["value"] == pytest.approx(30) and paid["holds"]
    faster = next(c for c in made.values() if "1000 pictures" in c["claim"])
    assert faster["value"] == pytest.approx(1000 * (1.0 / 0.5) / 130) and faster["holds"]
    assert "| 30 |" in "\n".join(table1.section(found))


# --- Timesteps -------------------------------------------------------------------------------------------------------


def told(gains, scores):
    """A race over two timesteps' gains: one training each."""
    rows, asked = [], []
    for text, line in gains.items():
        for t, g in line.items():
            rows.append({"prompt": text, "t": t, "seed": 0, "people": [{"gain": [g]}]})
        asked.append({"indicators": text, "values": {name: scores[text] for name in indicators.NAMES}})
    return {"rows": rows, "indicators": asked, "timesteps": [1, 2, 3], "prompts": list(gains), "seeds": 1}


def test_regret_is_what_the_choice_loses():
    gains = {"a": {1: 0.0, 2: 0.5, 3: 0.2}, "b": {1: 0.6, 2: 0.1, 3: 0.0}}
    right = timesteps.raced(told(gains, {"a": [0, 5, 1], "b": [9, 2, 1]}))
    assert right["N̄"]["regret"] == [0, 0] and right["N̄"]["spearman"] == pytest.approx([1, 1])
    wrong = timesteps.raced(told(gains, {"a": [5, 0, 1], "b": [0, 2, 9]}))
    assert wrong["N̄"]["regret"] == pytest.approx([0.5, 0.6])
    assert wrong["always the best of the other prompts"]["regret"] == pytest.approx([0.5, 0.5])
    assert wrong["any, at random"]["regret"] == pytest.approx([0.5 - 0.7 / 3, 0.6 - 0.7 / 3])
    assert "no one: a descent of all" not in wrong
    descended = told(gains, {"a": [5, 0, 1], "b": [0, 2, 9]})
    descended["rows"] += [
        {"prompt": text, "t": DESCENT, "seed": k, "people": [{"gain": [g]}]}
        for k, (text, g) in enumerate((("a", 0.4), ("b", 0.5), ("b", 0.3)))
    ]
    assert timesteps.raced(descended)["no one: a descent of all"]["regret"] == pytest.approx([0.1, 0.2])
    won = [c for c in timesteps.claims(right, 2) if c["claim"].startswith("N̄")]
    assert won[0]["holds"] is True


def test_an_indicator_of_the_schedule_alone_has_no_partial_correlation():
    gain = np.array([[0.1, 0.5, 0.3], [0.2, 0.4, 0.6], [0.9, 0.1, 0.2]])
    same = np.array([[1.0, 3.0, 2.0]] * 3)
    assert all(math.isnan(x) for x in timesteps.partial(same, gain))
    assert np.mean(timesteps.partial(gain, gain)) > 0.9
    assert timesteps.partial(gain[:2], gain[:2]) == []


def test_a_prompt_that_varies_by_chance_is_not_counted():
    rows = [
        {"prompt": "a", "t": t, "seed": k, "people": [{"gain": [g]}]}
        for k, line in enumerate(([0.1, 0.3, 0.2], [0.3, 0.1, 0.2]))
        for t, g in zip((1, 2, 3), line, strict=True)
    ]
    assert timesteps.telling({"rows": rows, "timesteps": [1, 2, 3], "prompts": ["a"]}) == {}


def test_indicators_on_a_teacher_whose_answer_is_known():
    domain, teacher = toy_domain(), ToyTeacher()
    images = domain.images(3, 0, "train")
    found = indicators.indicators(domain, teacher, images, "red", (200, 800))
    assert set(found) == set(indicators.NAMES) and all(len(v) == 2 for v in found.values())
    assert all(math.isfinite(x) for v in found.values() for x in v)
    assert all(0 <= x <= 1 for x in found["concentration"])
    assert min(found["one step ahead"]) > 0  # the prompt's direction is exact: a step along it explains more


def test_the_slope_of_the_log_snr():
    a = torch.sigmoid(torch.linspace(5, -5, 1000, dtype=torch.float64))
    assert log_snr_slope(a, 500) == pytest.approx(10 / 999, rel=1e-6)
    assert log_snr_slope(a, 0) == pytest.approx(10 / 999, rel=1e-6)


# --- Proxies ---------------------------------------------------------------------------------------------------------


def test_proxies_are_turned_so_that_larger_is_better():
    rows = [row("sdd", "smile", k / 10, e, 40 - 3 * k) for k, e in enumerate((0.1, 0.3, 0.5, 0.7, 0.9, 0.95))]
    made = proxies.correlations(rows)
    assert made["clip"]["editability"] == pytest.approx([1]) and made["distance"]["fidelity"] == pytest.approx([1])
    assert made["distance"]["editability"] == pytest.approx([-1])
    assert "fid" not in made and "ssim" not in made
    assert {c["claim"]: c["value"] for c in proxies.claims(made)}["LPIPS-style tells the gain"] == pytest.approx(-1)


# --- The second paper, and what is written ---------------------------------------------------------------------------


def test_ratios_need_both():
    rows = [{"second": "diffusionclip", "train": 50.0}, {"second": "effdiff", "train": 10.0}]
    assert second.ratio(rows, "train") == 5 and math.isnan(second.ratio(rows[:1], "train"))
    missing = second.claims([{"second": "effdiff", "why": "no model"}])
    assert all(c["holds"] is None and "recipes/ddpm.py" in c["why"] for c in missing)


def test_encodings_of_a_network_that_sees_no_noise():
    """Inversion and back is the identity; of one shot of noise all of it is left, magnified as x̂₀ has it."""
    abar = torch.linspace(0.999999, 0.1, 1000)
    network = PixelDiffusion(Silent(), abar, 32)
    images = 0.4 * torch.rand(2, 3, 32, 32) - 0.2
    there = SimpleNamespace(images=images, counterfactuals=[x[None] for x in images])
    bench = SimpleNamespace(models=SimpleNamespace(get=lambda role, who: network), subjects=lambda *asked: there)
    exact = encoding._back(bench, {"encoding": "40 steps", "t0": 200, "n": 2})
    assert min(exact["psnr"]) > 100
    once = encoding._back(bench, {"encoding": encoding.NOTHING, "t0": 20, "n": 2})
    added = ((1 - abar[20]) / abar[20]).sqrt() * noise_of(1, images, 0)
    assert once["psnr"] == pytest.approx(psnr((images + added).clamp(-1, 1), images).tolist(), abs=0.01)


class Silent(torch.nn.Module):
    """A U-Net that predicts no noise."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x, t):
        return SimpleNamespace(sample=self.weight * x)


def test_what_effdiff_rests_on_is_read_off_its_own_timestep():
    back = [
        {"t0": t0, "encoding": way, "psnr": [x, x + 1]}
        for t0, way, x in ((350, encoding.NOTHING, 20.0), (350, "40 steps", 30.0), (100, encoding.NOTHING, 50.0))
    ]
    seen = [{"t0": 350, "blurred alike": [0.9, 0.8], "one blurred": [0.1, 0.2]}]
    less, alike, one = second.kept(back, seen)
    assert less["value"] == pytest.approx(10) and less["holds"] is False
    assert alike["value"] == pytest.approx(0.85) and alike["holds"] and one["holds"]


def looked_at(name, *values, pictures=10.0):
    """A row of NIQE after every epoch, resampled people being 0.1 off to either side."""

    def drawn(value):
        return [value, *(value + 0.1 * (-1) ** k for k in range(estimates.DRAWS))]

    return {
        "estimates": name, "prompt": "white hair", "n": 2, "updates": [5 * k for k in range(len(values))],
        "niqe": [drawn(x) for x in values], "decoded": drawn(6.0), "pictures": drawn(pictures),
    }  # fmt: skip


def test_what_training_makes_of_the_one_step_estimate(tmp_path):
    rows = [looked_at("diffusionclip", 4.0, 3.5), looked_at("effdiff", 5.0, 4.0, 3.0)]
    less, more = estimates.claims(rows)
    assert (less["value"], more["value"]) == pytest.approx((2.0, 1.5)) and less["holds"] and more["holds"]
    assert "from 5.0 to 3.0" in less["why"] and "have 10.0" in less["why"] and "from 4.0 to 3.5" in more["why"]
    text = "\n".join(estimates.section(rows))
    assert "| estimate after epoch 2 | – | 3.00 [2.90, 3.10] |" in text and "5 updates of effdiff" in text
    estimates.plot(rows, tmp_path / "e.png")
    alone = [rows[1], {"estimates": "diffusionclip", "why": "no model"}]
    assert [c["holds"] for c in estimates.claims(alone)] == [True, None]
    assert estimates.claims([])[0]["why"] == "not measured" and estimates.section([]) == []
    estimates.plot([], tmp_path / "nothing.png")
    assert all((tmp_path / f"{n}.png").stat().st_size > 2000 for n in ("e", "nothing"))
    (equal, _) = estimates.claims([looked_at("effdiff", 5.0, 5.0)])
    assert equal["holds"] is None


def test_estimates_are_looked_at_before_and_after_every_epoch(tmp_path, monkeypatch):
    few = {"pictures": 4, "epochs": 1, "decoded": 2}
    monkeypatch.setattr(estimates, "OURS", replace(estimates.OURS, **few))
    monkeypatch.setattr(estimates, "THEIRS", replace(estimates.THEIRS, **few, inverted=3, trained=2))
    monkeypatch.setattr(estimates, "PEOPLE", 3)
    monkeypatch.setattr(estimates, "DRAWS", 4)
    domain = embedded()
    models = models_of(domain)
    theirs, ours = estimates.estimates(Bench(domain, None, models, tmp_path), ["white hair"])
    assert ours["updates"] == theirs["updates"] == [0, 2] and ours["pictures"] == theirs["pictures"]
    network = PixelDiffusion.of(models.get("ddpm", "effdiff"))
    people = fitting(domain.images(3, 0, "test"), network.size)
    now = network.abar[estimates.OURS.t0]
    states = now.sqrt() * people + (1 - now).sqrt() * noise_of(3, people, estimates.SEEN)
    with torch.no_grad():
        clean = (states - (1 - now).sqrt() * network(states, estimates.OURS.t0)) / now.sqrt()
    assert ours["niqe"][0][0] == pytest.approx(niqe(clean, estimates.BLOCK), abs=2e-3)
    assert ours["niqe"][1] != ours["niqe"][0] and len(ours["niqe"][0]) == 5


def test_every_name_is_an_experiment():
    assert all(find(name).name == name for name in NAMES)
    with pytest.raises(SddError, match="no experiment"):
        find("fig99")


def test_a_page_says_what_holds_and_what_is_missing(tmp_path):
    claims = [
        claim("one", 0.5, True, "because", None), claim("two", -1.0, False, "for once", None),
        claim("three", math.nan, None, "no model", None, "×"),
    ]  # fmt: skip
    made = Experiment("fig1", "A title", lambda b, s: {}, lambda f: ["the section"])
    size = Size(True, 4, ("white hair",))
    found = {"rows": [], "claims": claims, "quick": True, "left": 2, "command": command("fig1", size)}
    found |= {"prompts": ["white hair"], "n": 4}
    paths, left = write(made, found, tmp_path)
    assert left == 2 and [p.name for p in paths] == ["fig1.json", "fig1.md"]
    assert "sdd bench fig1 --quick -n 4 --prompt 'white hair'" in paths[1].read_text()
    page = index.write_index(tmp_path).read_text()
    assert "Of 3 claims 1 hold, 1 do not, and 1 cannot be said" in page and "Quick runs: fig1" in page
    assert "| three | not measured | cannot be said | no model |" in page and "`sdd bench table3`" in page
    (tmp_path / "fig1.json").write_text("[]")
    with pytest.raises(SddError, match="measure it again"):
        index.write_index(tmp_path)
    with pytest.raises(SddError, match="no result"):
        index.write_index(tmp_path / "nowhere")


def test_plots_are_drawn(tmp_path):
    found = {"rows": rows_of(0.1), "prompts": ["white hair", "smile"], "n": 3, "people_seed": 5, "quick": True}
    found |= fig1.summed(found)
    fig1.plot(found, tmp_path / "fig1.png")
    race = told({"a": {1: 0.0, 2: 0.5, 3: 0.2}}, {"a": [0, 5, 1]})
    timesteps.plot(race | {"race": timesteps.raced(race)}, tmp_path / "t.png")
    fig4.plot(race, tmp_path / "f4.png")
    table3.plot({"rows": [], "prompts": []}, tmp_path / "t3.png")
    assert all((tmp_path / f"{n}.png").stat().st_size > 2000 for n in ("fig1", "t", "f4", "t3"))
    assert "sdd, as drawn" in "\n".join(fig1.section(found))
    json.dumps(found)


def run(*words):
    result = CliRunner().invoke(app, ["bench", *map(str, words)])
    assert "Traceback" not in result.output and "should not have happened" not in result.output
    return result


@pytest.mark.parametrize("name", [*NAMES, "all", "index"])
def test_every_experiment_is_a_command_with_an_example(name):
    result = run(name, "--help")
    assert result.exit_code == 0 and f"Example: sdd bench {name}" in " ".join(result.stdout.split())


def test_bad_input_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    for words in (
        ("fig1", "-o", tmp_path / "file"), ("fig1", "-o", tmp_path, "--call", "tea=1"),
        ("index", "-o", tmp_path), ("nothing",), ("fig1", "-o", tmp_path, "-n", "0"),
    ):  # fmt: skip
        result = run(*words)
        assert result.exit_code == 2, words
    assert [p.name for p in Path(tmp_path).iterdir()] == ["file"]
