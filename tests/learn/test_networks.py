import golden
import numpy as np
import pytest
import torch

from twist.learn import diagnostics
from twist.learn.networks import HeadOutputs, ProjectionHead, TwistNet, build_network
from twist.runs.config import NetworkConfig

NAMES = {"bn": "batch", "syncbn": "sync", "ln": "layer", "none": "none", "identity": "none"}


def randn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("case", golden.cases("i_head.npz"))
def test_head_is_the_authors(case):
    meta, arrays = case.meta, {name: torch.tensor(value) for name, value in case.arrays.items()}

    def compare(actual, name):
        np.testing.assert_allclose(actual.detach(), case.arrays[name], rtol=0, atol=golden.FLOAT64)

    head = ProjectionHead(
        meta["feature_dim"],
        meta["hid_dim"],
        meta["dim"],
        head_norm=NAMES[meta["proj_norm"]],
        activation=meta["act"],
        final_norm=NAMES[meta["lbn"]],
    ).double()
    head.load_state_dict({name: torch.tensor(value) for name, value in case.group("init.").items()})
    seen = []
    head.last_linear.register_forward_hook(lambda module, inputs, output: seen.append(output))
    features = arrays["x"].requires_grad_()
    logits = head(features).logits
    compare(logits, "y_train")

    before, parameters = seen[0], dict(head.named_parameters())
    gradients = torch.autograd.grad(
        (logits * arrays["upstream"]).sum(), [features, before, logits, *parameters.values()]
    )
    compare(gradients[0], "grad_x")
    compare(gradients[1].abs().mean(), "gn_f")
    compare(gradients[2].abs().mean(), "gn_ft")
    for name, gradient in zip(parameters, gradients[3:], strict=True):
        compare(gradient, f"grad.{name}")
    for prefix, values in (("f", before), ("ft", logits)):
        compare(diagnostics.column_std(values), f"{prefix}_column_std")
        compare(diagnostics.row_std(values), f"{prefix}_row_std")
    for name in case.group("after."):
        compare(head.state_dict()[name], f"after.{name}")
    compare(head.eval()(arrays["x_eval"]).logits, "y_eval")


def test_state_dict_reads_as_the_authors():
    names = set(build_network(NetworkConfig(), 1, seed=0).state_dict())
    head = {name.removeprefix("projection_heads.") for name in names if name.startswith("projection_heads.")}
    norm = {"running_mean", "running_var", "num_batches_tracked"}
    assert all(name.startswith(("backbone.", "projection_heads.")) for name in names)
    assert head == {
        *(f"projection_head.{layer}.{part}" for layer in (0, 1, 4, 5) for part in ("weight", "bias")),
        *(f"projection_head.{layer}.{part}" for layer in (1, 5) for part in norm),
        "last_linear.weight",
        "last_linear.bias",
        *(f"norm.{part}" for part in norm),
    }


@pytest.mark.parametrize("final_norm", ["batch", "sync"])
def test_final_norm_gives_every_class_mean_zero_and_variance_one(final_norm):
    head = ProjectionHead(5, 8, 4, final_norm=final_norm)
    logits, before_norm = head(3 + randn(64, 5))
    torch.testing.assert_close(
        (before_norm - before_norm.mean(0)) / before_norm.std(0, correction=0), logits, rtol=1e-3, atol=1e-3
    )
    torch.testing.assert_close(logits.mean(0), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(logits.std(0, correction=0), torch.ones(4), rtol=0, atol=1e-2)


def test_without_final_norm_the_logits_are_the_last_layer():
    head = ProjectionHead(5, 8, 4, final_norm="none")
    features = randn(6, 5)
    logits, before_norm = head(features)
    torch.testing.assert_close(logits, head.last_linear(head.projection_head(features)))
    assert torch.equal(logits, before_norm) and not before_norm.requires_grad


@pytest.mark.parametrize("head_norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_every_head_option_trains(head_norm, activation):
    config = NetworkConfig(head_norm=head_norm, activation=activation, dropout=0.2, widths=(8,), hidden_dim=12)
    net = build_network(config, 1, seed=0)
    net(randn(6, 1, 8, 8)).logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_views_of_one_size_in_a_sequence_are_one_concatenated_batch():
    net = build_network(NetworkConfig(widths=(8,), hidden_dim=12), 1, seed=0)
    views = list(randn(3, 4, 1, 8, 8))
    torch.testing.assert_close(net(views), net(torch.cat(views)))


def test_norms_of_the_backbone_see_each_size_by_itself_and_the_head_sees_all():
    class Recorder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rows = []

        def forward(self, x, num_views=1):
            self.rows.append(len(x))
            return x.flatten(1)[:, :2]

    class RecordingHead(Recorder):
        def forward(self, x, num_views=1):
            rows = super().forward(x, num_views)
            return HeadOutputs(rows, rows)

    backbone, head = Recorder(), RecordingHead()
    large, small = randn(4, 1, 8, 8), randn(4, 1, 4, 4)
    outputs = TwistNet(backbone, head)([large, large, small, small, small])
    assert backbone.rows == [8, 12] and head.rows == [20]
    torch.testing.assert_close(outputs.features[:4], large.flatten(1)[:, :2])


def test_weights_depend_on_the_seed_alone():
    config = NetworkConfig(widths=(8,), hidden_dim=12)
    torch.manual_seed(5)
    expected_next = torch.rand(1)
    torch.manual_seed(5)
    first = build_network(config, 1, seed=3).state_dict()
    assert torch.equal(torch.rand(1), expected_next)
    again, other = (build_network(config, 1, seed=seed).state_dict() for seed in (3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["backbone.blocks.0.0.weight"], other["backbone.blocks.0.0.weight"])


def test_other_than_one_or_three_channels_is_named():
    with pytest.raises(ValueError, match="4 channels: give gray"):
        build_network(NetworkConfig(), 4, seed=0)


def test_the_head_of_least_loss_speaks_for_the_network():
    net = build_network(NetworkConfig(num_classes=5, num_heads=3), in_channels=1, seed=0).eval()
    images = torch.randn(4, 1, 8, 8)
    for step in range(50):
        net.note_losses(torch.tensor([1.0, 0.5 if step % 2 else 0.9, 0.8]))
    assert net.speaking_head == 1
    features, heads = net.forward_heads([images])
    assert len(heads) == 3
    assert torch.equal(net(images).logits, heads[1])
    assert not torch.equal(heads[0], heads[1])
    assert features.shape == (4, 128)


def test_which_head_speaks_travels_with_the_weights():
    one, other = (build_network(NetworkConfig(num_heads=3), in_channels=1, seed=seed) for seed in (0, 1))
    one.note_losses(torch.tensor([0.0, 0.0, -1.0]))
    other.load_state_dict(one.state_dict())
    assert other.speaking_head == 2


def test_a_single_head_keeps_the_authors_names_and_no_other():
    names = build_network(NetworkConfig(), in_channels=1, seed=0).state_dict()
    assert {name.split(".")[0] for name in names} == {"backbone", "projection_heads"}


@pytest.mark.parametrize(
    ("fields", "truncated"),
    [
        ({"head_init": "auto"}, False),
        ({"head_init": "truncated"}, True),
        ({"head_init": "auto", "backbone": "vit_t"}, True),
        ({"head_init": "default", "backbone": "vit_t"}, False),
        ({"head_init": "auto", "backbone": "timm:vit_tiny_patch16_224"}, False),
    ],
)
def test_the_head_begins_truncated_with_a_vision_transformer_or_when_asked(fields, truncated):
    net = build_network(NetworkConfig(hidden_dim=200, num_heads=2, **fields), 3, seed=0)
    for head in (net.projection_heads, *net.more_heads):
        first = head.projection_head[0]
        last_deviation = head.last_linear.weight.std().item()
        assert (last_deviation == pytest.approx(0.02, rel=0.05)) == truncated
        assert (not first.bias.any() and not head.last_linear.bias.any()) == truncated
    assert not torch.equal(net.projection_heads.last_linear.weight, net.more_heads[0].last_linear.weight)


def test_a_vision_transformer_takes_two_resolutions_and_trains_in_every_weight():
    config = NetworkConfig(backbone="vit_t", patch_size=8, hidden_dim=16, num_classes=6)
    net = build_network(config, 3, seed=0, image_size=32)
    large, small = randn(4, 3, 32, 32), randn(4, 3, 16, 16)
    outputs = net([large, large, small])
    assert outputs.features.shape == (12, 192) and outputs.logits.shape == (12, 6)
    (outputs.logits * randn(12, 6)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_weights_of_a_vision_transformer_depend_on_the_seed_alone():
    config = NetworkConfig(backbone="vit_t", hidden_dim=12)
    torch.manual_seed(5)
    expected_next = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (build_network(config, 1, seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.rand(1), expected_next)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["backbone.patch_embed.proj.weight"], other["backbone.patch_embed.proj.weight"])
