"""What stood in for CLIP and the identity network when methods on a StyleGAN were recorded, and their generators."""

import torch
from torch.nn import functional as F

from sdd.io.readers.stylegan2 import build_generator


def toy_clip(tensors, name="clip"):
    """Picture as CLIP gets it → features: one hidden layer on the picture's 8x8 means."""
    inside, bias, outside = (tensors[f"{name}.{part}"] for part in ("in", "bias", "out"))

    def features(picture):
        v = F.adaptive_avg_pool2d(picture, 8).flatten(1)
        return torch.tanh(v @ inside.T + bias) @ outside.T

    return features


def toy_identity(tensors):
    """Picture → features of unit length: linear in its 8x8 means."""
    return lambda picture: F.normalize(F.adaptive_avg_pool2d(picture, 8).flatten(1) @ tensors["id"].T, dim=1)


def in_float64(tensors):
    return {name: tensor.double() for name, tensor in tensors.items()}


def recorded_generator(tensors, average=None):
    """The generator under `g.`, in the precision of its tensors."""
    inner = {name[2:]: tensor for name, tensor in tensors.items() if name.startswith("g.")}
    dtype = inner["input.input"].dtype
    average = torch.zeros(512) if average is None else average
    net = build_generator({k: v.float() for k, v in inner.items()}, "the recording", [], average.float())
    net.to(dtype).load_state_dict(inner)
    return net.requires_grad_(False)


def check64(known, output, got):
    """Fail unless `got`, computed in float64, is the recorded output within its tolerance there."""
    error, allowed = known.error(output, torch.as_tensor(got)), known.doc["tolerance_float64"][output]
    assert error < allowed, f"{known.name} {output}: {error:.2e}, allowed {allowed:.0e}"
