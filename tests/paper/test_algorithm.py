"""Algorithm 1 written out once more in plain autograd, over a teacher whose answer is known; a step equals it."""

from dataclasses import replace

import pytest
import torch

from sdd.io.progress import silent
from sdd.manipulators.protocol import Prepared
from sdd.manipulators.stylegan import StyleGAN
from sdd.nets.arcface import IRSE, identity_features
from sdd.nets.mapper_kinds import build_mapper
from sdd.paper.algorithm import distil
from sdd.paper.objective import ChangeL2, ScoreDistillation, identity_loss
from sdd.paper.search import search
from sdd.paper.timesteps import timestep_set
from sdd.training.config import DistillConfig
from sdd.training.train import Training
from toy import STYLE_DIM, ToyTeacher, toy_domain

SMALL = {"images": 12, "search_images": 12, "steps": 3, "timesteps": "above:-0.2"}


def with_identity():
    """The toy domain with an identity network: random, but always the same."""
    torch.manual_seed(0)
    net = IRSE(units=(1, 1, 1, 1), channels=(16, 16, 32, 32), embedding=16, input_size=32, crop="none")
    return replace(toy_domain(), identity=net.eval().requires_grad_(False))


def algorithm_1(prompt, domain, teacher, settings, seed, steps):
    """The paper, line by line; the order in which chance is asked is that of the lines."""
    G, R = domain.generator.synthesis, domain.identity
    Y = domain.images(settings.images, seed, "train")
    codes = domain.encoder(Y)
    hqs = search(teacher, Y, prompt, seed=seed)
    S = timestep_set(hqs, settings.timesteps)  # 1
    random = torch.Generator().manual_seed(seed)
    levels = list(settings.levels)
    f = build_mapper({"kind": "LevelsMapper", "style_dim": STYLE_DIM, "levels": levels, "latent_weight": 0.1}, random)
    optimizer = torch.optim.AdamW(f.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    null, text = teacher.encode_text([""]), teacher.encode_text([prompt])
    for _ in range(steps):  # 2
        y = torch.randperm(len(Y), generator=random)[: settings.batch]  # 3
        t = torch.tensor(S)[torch.randint(len(S), (settings.batch,), generator=random)]
        eps = torch.randn(settings.batch, *teacher.latent_shape, generator=random)
        w = codes[y]
        delta = 0.1 * f(w)
        x = G(w + delta)  # 4
        z = teacher.encode_image(x)
        abar = teacher.alphas_cumprod[t].float().view(-1, 1, 1, 1)
        z_t = (abar.sqrt() * z + (1 - abar).sqrt() * eps).detach()
        e_null, e_text = (teacher.predict_noise(z_t, t, c.repeat(len(t))) for c in (null, text))
        g = (1 - abar) * (e_null + settings.scale * (e_text - e_null) - eps)  # 5
        loss = (g * z).sum() / len(t) + settings.l2 * delta.square().mean()
        features = identity_features(R, x), identity_features(R, G(w)).detach()
        loss = loss + settings.identity * (1 - (features[0] * features[1]).sum(1)).mean()
        optimizer.zero_grad()
        loss.backward()  # 6
        optimizer.step()
    return f, S


@pytest.mark.parametrize("steps", [1, 3])
def test_paper_is_algorithm_1(steps):
    domain, teacher = with_identity(), ToyTeacher()
    settings = DistillConfig.make("paper", **SMALL)
    wanted, chosen = algorithm_1("red", domain, teacher, settings, 4, steps)
    training = Training("red", domain, teacher, settings, 4, None, torch.device("cpu"), silent)
    states = iter(training)
    for _ in range(steps):
        next(states)
    assert training.learner.timesteps == chosen and 0 < len(chosen) < 19
    found = training.result.learned.state_dict()
    for name, want in wanted.state_dict().items():
        torch.testing.assert_close(found[name], want, rtol=1e-4, atol=1e-5)
    assert training.strength() == 1.0


def manipulator():
    domain = toy_domain()
    config = {"kind": "LevelsMapper", "style_dim": STYLE_DIM, "levels": ["coarse", "medium"]}
    return StyleGAN(domain.stylegan, build_mapper(config, torch.Generator().manual_seed(1)))


def steps_of(f, count, **options):
    codes = f.prepare(toy_domain().images(10, 0, "train"))
    teacher = ToyTeacher()
    optimizer = torch.optim.SGD(f.learned.parameters(), lr=0.0)
    guidance = ScoreDistillation(teacher, "red", 2.0)
    random = torch.Generator().manual_seed(0)
    found = distil(f, codes, teacher, guidance, lambda step: [300, 700], optimizer, random, **options)
    return [next(found) for _ in range(count)], codes


def test_a_step_says_what_it_did():
    f = manipulator()
    (first, second), codes = steps_of(f, 2, batch=4, terms={"l2": ChangeL2(f, 3.0)}, start=7)
    assert (first.number, second.number) == (8, 9) and len(set(first.index.tolist())) == 4
    assert set(first.t.tolist()) <= {300, 700}
    torch.testing.assert_close(first.images, f.draw(codes[first.index], first.change))
    assert set(first.terms) == {"guidance", "l2"}
    torch.testing.assert_close(first.terms["l2"], 3 * first.change.parts[0].square().mean())
    torch.testing.assert_close(first.loss, first.terms["guidance"] + first.terms["l2"])


def test_the_slope_along_the_strength_is_that_of_the_loss():
    """∂loss/∂strength at 1 by autograd, against a difference quotient of the same L2 alone."""
    f = manipulator()
    strength = torch.ones((), requires_grad=True)
    silence = lambda latents, t, noise, index: torch.zeros_like(latents)  # noqa: E731
    codes = f.prepare(toy_domain().images(6, 0, "train"))
    optimizer = torch.optim.SGD(f.learned.parameters(), lr=0.0)
    steps = distil(
        f, codes, ToyTeacher(), silence, lambda step: [500], optimizer, torch.Generator().manual_seed(0),
        terms={"l2": ChangeL2(f, 1.0)}, batch=3, strength=strength,
    )  # fmt: skip
    step = next(steps)
    assert float(strength.grad) == pytest.approx(2 * float(step.loss.detach()), rel=1e-5)  # of s² L, at s = 1


def test_pictures_may_be_chosen_and_timesteps_may_move():
    f, seen = manipulator(), []
    (first, second), _ = steps_of(f, 2, batch=2, choose=lambda step: torch.tensor([step, 5]))
    assert first.index.tolist() == [0, 5] and second.index.tolist() == [1, 5]
    codes = f.prepare(toy_domain().images(4, 0, "train"))
    optimizer = torch.optim.SGD(f.learned.parameters(), lr=0.0)
    guidance = ScoreDistillation(ToyTeacher(), "red", 1.0)
    moving = lambda step: seen.append(step) or [100 + step]  # noqa: E731
    steps = distil(
        f, codes, ToyTeacher(), guidance, moving, optimizer, torch.Generator().manual_seed(0), start=3
    )  # fmt: skip
    assert next(steps).t.tolist() == [103, 103] and next(steps).t.tolist() == [104, 104] and seen == [3, 4]


def test_identity_loss_has_a_gradient_on_the_edit_alone():
    def random(*shape, seed=0):
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()

    edited, source = random(4, 16), random(4, 16, seed=1)
    normalize = torch.nn.functional.normalize
    loss = identity_loss(normalize(edited), normalize(source))
    loss.backward()
    assert edited.grad is not None and edited.grad.abs().sum() > 0 and source.grad is None
    assert 0 < loss < 2
    assert identity_loss(torch.eye(3), -torch.eye(3)) == 2
    assert identity_loss(torch.eye(3), torch.eye(3)) == 0


def test_prepared_pictures_are_indexed_and_joined():
    y = Prepared({"a": torch.arange(6).view(3, 2), "b": torch.arange(3)})
    assert len(y) == 3 and y[torch.tensor([2, 0])].parts["b"].tolist() == [2, 0]
    assert Prepared.cat([y[:1], y[1:]]).parts["a"].tolist() == y.parts["a"].tolist()
