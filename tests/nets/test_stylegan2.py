"""The generator: noise, truncation, the three code spaces, clamping, and what it refuses. Parity is in `tests/io`."""

import pytest
import torch
from torch.nn import functional as F

from sdd.nets.stylegan2 import Generator

CHANNELS = {4: 12, 8: 12, 16: 8, 32: 6}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def generator(size=32, seed=0, **options):
    """A small generator in which every tensor matters."""
    torch.manual_seed(seed)
    net = Generator(size, style_dim=10, n_mlp=3, channels=CHANNELS, **options)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name.endswith((".bias", "noise.weight")):
                p.add_(0.3 * torch.randn(p.shape))
        net.latent_avg.copy_(random(10, seed=9))
    return net.requires_grad_(False)


@pytest.fixture(scope="module")
def net():
    return generator()


def plain(net, wplus, noise):
    """The generator as the paper defines it: every sample has a kernel of its own, (de)modulated by eq. 1 and 3."""

    def conv(layer, x, w, demodulate=True):
        images = []
        for sample, code in zip(x, w, strict=True):
            style = F.linear(code, layer.modulation.weight / 10**0.5, layer.modulation.bias)
            kernel = layer.weight[0] / layer.weight[0, 0].numel() ** 0.5 * style[:, None, None]
            if demodulate:
                kernel = kernel / (kernel.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
            y = sample[None]
            if layer.upsample:  # zeros between the pixels, the kernel's convolution, then the blur of sum 4
                wide = torch.zeros(1, y.shape[1], 2 * y.shape[2] + 3, 2 * y.shape[3] + 3, dtype=y.dtype)
                wide[..., 2:-2:2, 2:-2:2] = y
                y = F.conv2d(wide, kernel.flip(2, 3))
                blur = torch.tensor([1.0, 3, 3, 1], dtype=y.dtype)
                blur = (torch.outer(blur, blur) / 16).expand(y.shape[1], 1, 4, 4)
                images.append(F.conv2d(F.pad(y, (1, 1, 1, 1)), blur, groups=y.shape[1]))
            else:
                images.append(F.conv2d(y, kernel, padding=kernel.shape[2] // 2))
        return torch.cat(images)

    def styled(layer, x, w, noise):
        x = conv(layer.conv, x, w) + layer.noise.weight * noise + layer.activate.bias[:, None, None]
        return F.leaky_relu(x, 0.2) * 2**0.5

    def upsample(x):
        """Bilinear with the outermost pixels fading to black, written as a sum over the four taps of each pixel."""
        wide = torch.zeros(*x.shape[:2], 2 * x.shape[2] + 3, 2 * x.shape[3] + 3, dtype=x.dtype)
        wide[..., 2:-1:2, 2:-1:2] = x
        k = torch.tensor([1.0, 3, 3, 1], dtype=x.dtype) / 4
        rows = sum(k[i] * wide[..., i : i + 2 * x.shape[2], :] for i in range(4))
        return sum(k[i] * rows[..., i : i + 2 * x.shape[3]] for i in range(4))

    x = styled(net.conv1, net.input.input.expand(len(wplus), -1, -1, -1), wplus[:, 0], noise[0])
    rgb = conv(net.to_rgb1.conv, x, wplus[:, 1], False) + net.to_rgb1.bias
    for j, to_rgb in enumerate(net.to_rgbs):
        x = styled(net.convs[2 * j], x, wplus[:, 2 * j + 1], noise[2 * j + 1])
        x = styled(net.convs[2 * j + 1], x, wplus[:, 2 * j + 2], noise[2 * j + 2])
        rgb = upsample(rgb) + conv(to_rgb.conv, x, wplus[:, 2 * j + 3], False) + to_rgb.bias
    return rgb


def test_equals_the_papers_definition(net):
    double = generator().double()
    wplus = random(2, net.n_latent, 10).double()
    want = plain(double, wplus, list(double.noises.buffers()))
    assert torch.allclose(double(wplus), want, atol=1e-10)
    assert torch.allclose(net(wplus.float()), want.float(), atol=1e-4)


def test_sizes():
    for size, layers in ((8, 4), (64, 10), (256, 14), (1024, 18)):
        with torch.device("meta"):
            net = Generator(size)
        assert net.n_latent == layers and len(list(net.noises.buffers())) == layers - 1
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(30.370e6, abs=1e3)
    assert len(net.state_dict()) == 171
    assert net.style_dims == [512] * 15 + [256] * 3 + [128] * 3 + [64] * 3 + [32] * 2


def test_noise(net):
    w = random(3, net.n_latent, 10)
    stored = list(net.noises.buffers())
    const, none = net(w), net.synthesis(w, "none")
    assert torch.equal(const, net.synthesis(w, stored))
    assert torch.allclose(none, net.synthesis(w, [n * 0 for n in stored]), atol=1e-5) and not torch.allclose(
        const, none
    )
    # every map reaches the picture
    for k in range(len(stored)):
        changed = [n + (i == k) * 0.5 for i, n in enumerate(stored)]
        assert (net.synthesis(w, changed) - const).abs().max() > 1e-3
    # random noise differs between samples, calls and seeds, and is reproducible
    same = w[:1].expand(2, -1, -1)
    a = net.synthesis(same, "random", torch.Generator().manual_seed(1))
    assert torch.equal(a, net.synthesis(same, "random", torch.Generator().manual_seed(1)))
    assert not torch.allclose(a[0], a[1], atol=1e-3)
    assert not torch.allclose(a, net.synthesis(same, "random", torch.Generator().manual_seed(2)), atol=1e-3)
    fresh = generator()
    fresh.draw_noise(4)
    assert not torch.allclose(fresh(w), const, atol=1e-3)
    with pytest.raises(ValueError, match="noise"):
        net.synthesis(w, "some")
    with pytest.raises(ValueError, match="7 noise maps, not 6"):
        net.synthesis(w, stored[:-1])


def test_truncation(net):
    w, avg = random(4, 10), net.latent_avg
    assert torch.allclose(net.truncate(w, 0.3), avg + 0.3 * (w - avg))
    assert torch.equal(net.truncate(w, 1.0), w) and torch.equal(net.truncate(w, 1.5), w)
    assert torch.equal(net.truncate(w, 0.0), avg.expand(4, -1))
    wplus = w[:, None].expand(-1, net.n_latent, -1)
    assert torch.equal(net.truncate(wplus, 0.3)[:, 5], net.truncate(w, 0.3))


def test_w_is_wplus_with_equal_layers(net):
    w = random(2, 10)
    assert torch.equal(net(w), net(w[:, None].expand(-1, net.n_latent, -1)))
    with pytest.raises(ValueError, match=r"\(B, 8, 10\), not \(2, 7, 10\)"):
        net(random(2, 7, 10))


def test_stylespace(net):
    """The same picture by either way, (B, 1, C, 1, 1) included; a vector touches what it should."""
    wplus = random(2, net.n_latent, 10)
    styles = net.styles(wplus)
    assert [s.shape[1] for s in styles] == net.style_dims == [12, 12, 12, 12, 12, 12, 8, 8, 8, 6, 6]
    assert torch.equal(net.synthesis_from_styles(styles), net(wplus))
    assert torch.equal(net.synthesis_from_styles([s[:, None, :, None, None] for s in styles]), net(wplus))
    # W+ layer 3 drives the to-RGB layer of 8 px and the upsampling convolution to 16 px, and nothing else
    moved = wplus.clone()
    moved[:, 3] += 1
    assert [i for i, (a, b) in enumerate(zip(styles, net.styles(moved), strict=True)) if not torch.equal(a, b)] == [
        4,
        5,
    ]
    with pytest.raises(ValueError, match="vectors of"):
        net.synthesis_from_styles(styles[:-1])


def test_gradients(net):
    """Of W+, of the weights, and through frozen weights."""
    net64 = generator(16).double()
    wplus = random(1, net64.n_latent, 10).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda w: net64(w).square().mean(), (wplus,), atol=1e-8)
    net64.requires_grad_(True)
    net64(net64.mapping(random(2, 10).double())).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net64.parameters())


def test_conv_clamp(net):
    w = random(2, net.n_latent, 10)
    wide, tight = generator(conv_clamp=1e4), generator(conv_clamp=0.4)
    assert torch.equal(wide(w), net(w)) and not torch.allclose(tight(w), net(w), atol=1e-2)
    seen = []
    for layer in [tight.conv1, tight.convs[3]]:
        layer.register_forward_hook(lambda module, args, out: seen.append(out.abs().max()))
    tight(w)
    assert torch.stack(seen).max() == 0.4  # after the activation's √2, and it does trigger
    only_rgb = tight.to_rgb1(1e3 * torch.ones(1, 12, 4, 4), torch.ones(1, 12), None)
    assert only_rgb.abs().max() == 0.4


def test_config_rebuilds():
    net = generator(conv_clamp=2.0, c_dim=3, z_dim=7)
    again = Generator(**net.config())
    again.load_state_dict(net.state_dict())
    w = net.mapping(random(2, 7), torch.eye(3)[:2])
    assert torch.equal(again.mapping(random(2, 7), torch.eye(3)[:2]), w) and torch.equal(again(w), net(w))
    assert torch.equal(net.mean_latent(8), net.mean_latent(8)) and net.mean_latent(8, seed=1).shape == (10,)


def test_what_it_refuses():
    with pytest.raises(ValueError, match="power of two"):
        Generator(48)
    with pytest.raises(ValueError, match=r"\[32\] are missing"):
        Generator(32, channels={"4": 4, "8": 4, "16": 4})
