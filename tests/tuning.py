"""What the recorded methods were run with in place of large networks: a toy CLIP, an analytic noise predictor."""

from contextlib import contextmanager

import torch
from torch.nn import functional as F

from parity import fixture
from sdd.io.readers.ddpm import read_ddpm
from sdd.methods.directional import Directed, Weights, objective
from sdd.nets.clip_direction import text_direction
from sdd.nets.clip_views import nada_view

ABAR = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0).float()  # the published betas


class AnalyticPredictor:
    """eps(x, t) of pictures that are Gaussian up to `gain`."""

    def __init__(self, tensors, prefix, abar, gain):
        self.mean, self.std, self.mix = (tensors[prefix + k] for k in ("mean", "std", "mix"))
        self.abar, self.gain = abar, gain

    def __call__(self, x, t):
        a = self.abar[t]
        mixed = torch.einsum("oc,bchw->bohw", self.mix, x)
        clean = (x - a.sqrt() * self.mean) / (1 - a + a * self.std**2)
        return (1 - a).sqrt() * (clean + self.gain * torch.tanh(mixed))


def pooled(picture):
    return F.adaptive_avg_pool2d(picture, 8).flatten(1)


class Recorded:
    """A recorded fine-tuning: its network, fresh, and what it is trained for."""

    def __init__(self, name):
        self.reference = fixture(name)
        self.meta = self.reference.meta
        tensors = dict(self.reference.tensors)
        clip = {k: tensors.pop(f"clip.{k}") for k in ("in", "bias", "out")}
        identity = tensors.pop("id", None)
        self.net, _, _ = read_ddpm({k: v.clone() for k, v in tensors.items()})
        self.net.requires_grad_(True)
        self.first = self.probe()

        def features(images):
            seen = pooled(nada_view(images, self.meta["n_px"]))
            return torch.tanh(seen @ clip["in"].T + clip["bias"]) @ clip["out"].T

        texts = self.reference.inputs["text_source"], self.reference.inputs["text_target"]
        directed = Directed(text_direction(*texts), features)
        weights = Weights(self.meta["clip_loss_w"], self.meta["l1_loss_w"], self.meta["id_loss_w"])
        who = None if identity is None else lambda images: F.normalize(pooled(images) @ identity.T, dim=1)
        self.goal = lambda edited, source, shown=None: objective(edited, source, directed, weights, who, shown)

    def predict(self, x, t):
        return self.net(x, t).sample

    def parameters(self):
        return self.net.parameters()

    @torch.no_grad()
    def probe(self):
        return self.predict(self.reference.inputs["probe"], self.meta["probe_t"])

    @contextmanager
    def counted(self):
        """How often the network is called, and how often a gradient passes back through it."""
        calls = {"forward": 0, "backward": 0}

        def called(net, inputs, output):
            calls["forward"] += 1
            if output.sample.requires_grad:
                output.sample.register_hook(passed)

        def passed(grad):
            calls["backward"] += 1

        hook = self.net.register_forward_hook(called)
        yield calls
        hook.remove()

    def check(self, updates, edited):
        """Fail unless the training's figures, the change of the network and the edits are those recorded."""
        self.reference.check("losses", torch.tensor([u.loss for u in updates]))
        self.reference.check("directional", torch.tensor([u.directional for u in updates]))
        self.reference.check("learning_rates", torch.tensor([u.rate for u in updates]))
        self.reference.check("noise_change", self.probe() - self.first)
        self.reference.check("edited", edited)
