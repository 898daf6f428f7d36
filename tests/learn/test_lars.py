import golden
import numpy as np
import pytest
import torch

from twist.learn.lars import LARS


@pytest.mark.parametrize("case", golden.cases("f_lars.npz"))
def test_steps_and_buffers_are_the_authors(case):
    meta, arrays = case.meta, case.arrays
    kinds = {"w": meta["n_weights"], "b": meta["n_biases"]}
    names = [f"{kind}{number}" for kind, count in kinds.items() for number in range(count)]
    tensors = {name: torch.nn.Parameter(torch.tensor(arrays[f"{name}_init"])) for name in names}
    weights, biases = ([tensors[name] for name in names if name[0] == kind] for kind in "wb")
    optimizer = LARS(
        [
            {"params": weights, "weight_decay": meta["wd"]},
            {"params": biases, "weight_decay": meta["bias_wd"], "adapt": False},
        ],
        lr=0.0,
        momentum=meta["momentum"],
        dampening=meta["dampening"],
        nesterov=meta["nesterov"],
        trust=meta["eta"],
    )
    for step in range(meta["steps"]):
        rate = meta["lr"][step]
        for group, share in zip(optimizer.param_groups, (1.0, meta["lr_wbr"]), strict=True):
            group["lr"] = rate / share
        skipped = biases[-1] if meta["skip_last_bias_at"] == step else None
        for name, tensor in tensors.items():
            tensor.grad = None if tensor is skipped else torch.tensor(arrays[f"{name}_grad{step}"])
        optimizer.step()
        for name, tensor in tensors.items():
            np.testing.assert_allclose(tensor.detach(), arrays[f"{name}_after{step}"], rtol=0, atol=golden.FLOAT64)
            if (recorded := arrays.get(f"{name}_buf{step}")) is not None:
                buffer = optimizer.state[tensor]["momentum_buffer"]
                np.testing.assert_allclose(buffer, recorded, rtol=0, atol=golden.FLOAT64)


def test_zeros_with_a_zero_gradient_stay_put():
    weight = torch.nn.Parameter(torch.zeros(2, 3))
    weight.grad = torch.zeros(2, 3)
    LARS([weight], lr=1.0).step()
    assert (weight == 0).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("adapt", [True, False])
def test_a_gradient_that_is_not_finite_poisons_nothing(value, adapt):
    weight, other = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2, 2))
    optimizer = LARS([weight, other], lr=1.0, trust=0.1, adapt=adapt)
    weight.grad, other.grad = torch.ones(2, 2), torch.ones(2, 2)
    optimizer.step()
    kept, buffer = weight.detach().clone(), optimizer.state[weight]["momentum_buffer"].clone()
    weight.grad = torch.tensor([[value, 1.0], [1.0, 1.0]])
    optimizer.step()
    assert (optimizer.state[weight]["momentum_buffer"] == buffer).all()
    assert (weight == kept).all() and (other < kept).all()


def test_state_survives_a_save_and_load():
    def trained(steps, optimizer, weight):
        for step in steps:
            weight.grad = torch.full_like(weight, 0.1 * (step + 1))
            optimizer.step()

    straight = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = LARS([straight], lr=1.0)
    trained(range(4), optimizer, straight)
    half = torch.nn.Parameter(torch.ones(2, 2))
    first = LARS([half], lr=1.0)
    trained(range(2), first, half)
    second = LARS([half], lr=1.0)
    second.load_state_dict(first.state_dict())
    trained(range(2, 4), second, half)
    assert torch.equal(half, straight)


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ValueError, match="momentum 0"):
        LARS([torch.nn.Parameter(torch.ones(1, 1))], lr=1.0, momentum=0.0, nesterov=True)
