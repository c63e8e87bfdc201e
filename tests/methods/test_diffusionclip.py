"""DiffusionCLIP computes what the published code computes, and what must hold of any fine-tuned diffusion model."""

import pytest
import torch

from parity import fixture
from sdd.errors import SddError
from sdd.methods import diffusionclip, mixing
from sdd.methods.ddim import ancestral, at, decode, estimate, invert, move, noised, steps
from tuning import ABAR, AnalyticPredictor, Recorded


@pytest.mark.parametrize("t0, n", [(500, 40), (301, 40), (400, 6), (350, 6), (601, 3), (999, 7)])
def test_step_lists(t0, n):
    fixture("diffusionclip").check(f"seq_{t0}_{n}", torch.tensor(steps(n, t0), dtype=torch.float32))


@pytest.mark.parametrize("name, mode", [("diffusionclip", "chain"), ("diffusionclip_eff", "steps")])
def test_training_equals_the_published_code(name, mode):
    recorded = Recorded(name)
    meta, reference = recorded.meta, recorded.reference
    train, test = reference.inputs["train"], reference.inputs["test"]
    up = steps(meta["n_inv_step"], meta["t_0"])
    latents = torch.cat([invert(recorded.predict, x[None], ABAR, up) for x in train])
    reference.check("latent", latents)
    with torch.no_grad():
        reference.check("reconstruction", decode(recorded.predict, latents, ABAR, up))
    kept = invert(recorded.predict, test, ABAR, up)
    edited = []

    @torch.no_grad()
    def after(epoch):
        edited.append(decode(recorded.predict, kept, ABAR, steps(meta["n_test_step"], meta["t_0"])))

    updates = diffusionclip.train(
        recorded.predict, recorded.parameters(), train, latents, abar=ABAR,
        chain=steps(meta["n_train_step"], meta["t_0"]), goal=recorded.goal, rate=meta["lr"], epochs=meta["n_iter"],
        mode=mode, identity_of="state", after=after,
    )  # fmt: skip
    recorded.check(updates, torch.stack(edited))


@pytest.mark.parametrize("name, case", list(fixture("diffusionclip_mixing").meta["cases"].items()))
def test_one_step_of_several_networks(name, case):
    reference = fixture("diffusionclip_mixing")
    nets = {
        who: AnalyticPredictor(reference.tensors, f"{who}.", ABAR, reference.meta["gain"])
        for who in ("original", "a", "b")
    }
    x, fresh, t = reference.inputs["x"], reference.inputs["noise"], case["t"]
    if "hybrid" in case:
        predict = mixing.hybrid([nets["a"], nets["b"]], {int(k): v for k, v in case["hybrid"].items()})
    else:
        predict = mixing.ratio(nets["a"], nets["original"], case["ratio"])
    if case.get("type") == "ddpm":
        found = ancestral(x, predict(x, t), ABAR, t, fresh)
    else:
        found, _ = move(x, predict(x, t), at(ABAR, t), at(ABAR, case["next"]), case.get("eta", 0.0), fresh)
    reference.check(name, found)


def gaussian():
    """A predictor that is exact for pictures drawn from a Gaussian."""
    generator = torch.Generator().manual_seed(0)
    data = {"mean": torch.randn(1, 3, 8, 8, generator=generator) * 0.3, "std": torch.full((1, 3, 8, 8), 0.4)}
    return AnalyticPredictor({**data, "mix": torch.zeros(3, 3)}, "", ABAR, 0.0), data


def test_the_estimate_of_an_exact_predictor_is_the_posterior_mean():
    predict, data = gaussian()
    x, t = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)), 350
    a, variance = at(ABAR, t), data["std"] ** 2
    gain = a.sqrt() * variance / (1 - a + a * variance)
    torch.testing.assert_close(
        estimate(x, predict(x, t), a), data["mean"] + gain * (x - a.sqrt() * data["mean"]), atol=1e-5, rtol=1e-5
    )


def test_inversion_and_decoding_meet_as_the_chain_gets_finer():
    predict, _ = gaussian()
    x0 = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(2)) * 0.4
    errors = [
        (decode(predict, invert(predict, x0, ABAR, steps(n, 500)), ABAR, steps(n, 500)) - x0).abs().max()
        for n in (5, 20, 500)
    ]
    assert errors[0] > 2 * errors[1] > 8 * errors[2] and errors[2] < 0.02


def test_a_chain_of_one_step_is_the_estimate():
    predict, _ = gaussian()
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    assert torch.equal(decode(predict, x, ABAR, steps(1, 350)), estimate(x, predict(x, 350), at(ABAR, 350)))


def test_the_gradient_of_the_chain_passes_through_every_call():
    recorded = Recorded("diffusionclip")
    x0 = recorded.reference.inputs["train"]
    latent = noised(x0, torch.randn_like(x0), at(ABAR, 301))
    with recorded.counted() as calls:
        [(loss, _)] = diffusionclip.chain_losses(recorded.predict, x0, latent, ABAR, steps(4, 301), recorded.goal)
        loss.backward()
    assert calls == {"forward": 4, "backward": 4}
    with recorded.counted() as calls:
        for loss, _ in diffusionclip.step_losses(recorded.predict, x0, latent, ABAR, steps(4, 301), recorded.goal):
            loss.backward()
    assert calls == {"forward": 4, "backward": 4}


def test_latents_move_towards_what_the_loss_wants():
    predict, _ = gaussian()
    wanted = torch.full((2, 3, 8, 8), 0.2)
    start = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(4))

    def loss(x):
        return (x - wanted).square().sum()

    moved, losses = diffusionclip.optimise_latents(predict, start, abar=ABAR, chain=steps(4, 400), loss=loss, updates=9)
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]
    alone, _ = diffusionclip.optimise_latents(
        predict, start[1:], abar=ABAR, chain=steps(4, 400), loss=lambda x: (x - wanted[:1]).square().sum(), updates=9
    )
    torch.testing.assert_close(moved[1:], alone)


def test_shares_that_cannot_be_mixed_are_refused():
    predict, _ = gaussian()
    for shares in ({}, {300: [1.0]}, {0: [1.0, 1.0]}, {0: [0.0]}):
        with pytest.raises(SddError):
            mixing.hybrid([predict], shares)
