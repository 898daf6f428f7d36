import numpy as np
import pytest
import torch
from torch.nn import functional

from twist.learn.backbones import build_backbone
from twist.learn.datasets import ImageSet
from twist.learn.fast_conv import FastConv
from twist.learn.networks import build_network
from twist.learn.optim import parameter_groups
from twist.learn.views import make_views
from twist.learn.whitening import whiten_first_layer
from twist.runs.config import NetworkConfig, Recipe


def natural(count=200, channels=3, side=16, seed=0):
    """Smooth images, as photographs are: neighboring pixels and channels are alike."""
    noise = torch.randn(count, channels, side + 4, side + 4, generator=torch.Generator().manual_seed(seed))
    smooth = functional.avg_pool2d(noise, 5, stride=1)
    return smooth + 0.5 * smooth.mean(1, keepdim=True)


def image_set(count):
    pixels = natural(count).mul(60).add(128).clamp(0, 255).to(torch.uint8)
    return ImageSet(pixels, None, None, torch.arange(count), "natural", "")


@pytest.mark.parametrize("side", [4, 8, 15, 16, 20, 32, 64])
@pytest.mark.parametrize("stride", [1, 2])
def test_images_of_any_side_have_features(side, stride):
    net = FastConv(3, (4, 6, 8), stride=stride, pool_side=2)
    assert net(torch.randn(2, 3, side, side)).shape == (2, 32)
    assert net.feature_dim == 32


@pytest.mark.parametrize("channels", [1, 3])
def test_whitened_patches_are_uncorrelated_and_of_variance_one(channels):
    net, images = FastConv(channels, (4,)), natural(channels=channels)
    net.whiten(images)
    answers = functional.conv2d(images, net.first.weight)[:, : 9 * channels]  # whole patches, without the padding
    covariance = np.cov(answers.transpose(0, 1).flatten(1).double().numpy())
    variances = np.diag(covariance)
    assert np.abs(covariance - np.diag(variances)).max() < 1e-3
    # A direction of variance v answers with v / (v + damping), strong ones with almost 1.
    patches = functional.unfold(images, 3).transpose(1, 2).flatten(0, 1).double().numpy()
    spectrum = np.linalg.eigvalsh(np.cov(patches.T))
    np.testing.assert_allclose(variances, spectrum / (spectrum + 0.01 * spectrum.mean()), atol=1e-3)
    assert variances.max() > 0.95


def test_every_filter_has_its_negative():
    net = FastConv(3, (4,))
    net.whiten(natural())
    one, other = net.first.weight.chunk(2)
    assert torch.equal(one, -other) and one.abs().sum() > 0


def test_images_of_one_color_give_finite_filters():
    net = FastConv(3, (4,))
    net.whiten(torch.full((10, 3, 8, 8), 0.3))
    assert net.first.weight.isfinite().all()


@pytest.mark.parametrize("whitening", [True, False])
def test_a_whitening_layer_is_not_trained_and_any_other_is(whitening):
    net = FastConv(3, (4,), whitening=whitening)
    weights, biases = parameter_groups(net, 0.1)
    held = {id(parameter) for group in (weights, biases) for parameter in group["params"]}
    assert (id(net.first.weight) in held) == (not whitening)
    assert len(held) == len(list(net.parameters())) - whitening


@pytest.mark.parametrize(("stem", "side"), [("tiny", 16), ("standard", 8)])
def test_the_fields_of_the_recipe_shape_the_network(stem, side):
    fields = {"stem": stem, "widths": (4, 6), "pool_side": 2, "whitening": False}
    net, feature_dim = build_backbone(NetworkConfig(backbone="fast_conv", **fields), 1)
    assert net.first(torch.zeros(1, 1, 16, 16)).shape == (1, 18, side, side)
    assert (feature_dim, net.whitening, len(net.blocks)) == (24, False, 2)


# From the images of a run


def test_the_first_layer_whitens_views_of_the_images_and_is_the_same_every_time():
    recipe = Recipe().replace(network__backbone="fast_conv", network__widths=(4,), views__size=16)
    images = image_set(300)
    networks = [build_network(recipe.network, 3, seed=0) for _ in range(2)]
    for network in networks:
        whiten_first_layer(network, images, recipe)
    first, again = (network.backbone.first.weight for network in networks)
    assert torch.equal(first, again)
    expected = FastConv(3, (4,))
    expected.whiten(make_views(images.images, images.sample_ids, recipe.views, seed=0, epoch=0)[0])
    assert torch.equal(first, expected.first.weight)


def test_of_many_images_an_even_choice_is_taken(monkeypatch):
    recipe = Recipe().replace(network__backbone="fast_conv", network__widths=(4,))
    network, images = build_network(recipe.network, 3, seed=0), image_set(100)
    monkeypatch.setattr("twist.learn.whitening._IMAGES", 12)
    seen = []
    monkeypatch.setattr(FastConv, "whiten", lambda self, views: seen.append(views))
    whiten_first_layer(network, images, recipe)
    few = torch.arange(0, 100, 9)
    assert torch.equal(seen[0], make_views(images.images[few], few, recipe.views, seed=0, epoch=0)[0])


@pytest.mark.parametrize("changes", [{"network__whitening": False}, {"network__backbone": "small_conv"}])
def test_a_network_without_a_whitening_layer_stays_as_it_is(changes):
    recipe = Recipe().replace(**{"network__backbone": "fast_conv", **changes})
    network = build_network(recipe.network, 3, seed=0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    whiten_first_layer(network, image_set(20), recipe)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
