"""How a device does what a recipe asks: in which number format, and compiled or not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from twist.learn.networks import TwistNet

#: Number formats by the name that a recipe gives them.
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_TRIAL_S = 0.5
_WORTH_IT = 1.1  # a trial of half a second is no surer than this


def choose_precision(
    name: str, network: TwistNet, device: torch.device, *, make_views: Callable[[], Sequence[Tensor]]
) -> str:
    """The number format of the network's arithmetic, ``float32`` or ``bfloat16``, for views as it will see them.

    ``auto`` means bfloat16 on a GPU that computes in it. A CPU is asked by a trial of a second if it has units for
    products of such matrices (AMX), and else not: without them bfloat16 was never faster. A trial leaves the network
    as it was.
    """
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device.type != "cpu" or not torch.cpu.get_capabilities().get("amx_bf16", False):
        return "float32"
    return try_precisions(network, make_views())


def try_precisions(network: TwistNet, views: Sequence[Tensor]) -> str:
    """The faster of the two formats for a forward and backward pass of these views, tried for about a second."""
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    rates = {}
    with torch.random.fork_rng(devices=[]):
        for name, dtype in PRECISIONS.items():
            _pass(network, views, dtype)  # the first call sets up what later ones find ready
            count, began = 0, time.perf_counter()
            while time.perf_counter() - began < _TRIAL_S:
                _pass(network, views, dtype)
                count += 1
            rates[name] = count / (time.perf_counter() - began)
    network.load_state_dict(kept)
    network.zero_grad(set_to_none=True)
    return "bfloat16" if rates["bfloat16"] > _WORTH_IT * rates["float32"] else "float32"


def _pass(network: TwistNet, views: Sequence[Tensor], dtype: torch.dtype) -> None:
    with autocast(views[0].device, dtype):
        _, logits = network.forward_heads(views)
    torch.stack([rows.float().square().mean() for rows in logits]).sum().backward()


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Arithmetic in a number format where that is safe; nothing for float32."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def compile_network(network: nn.Module, mode: str) -> None:
    """Fuse backbone and heads with torch.compile, in place: parameters keep their names, checkpoints their form.

    Nothing is compiled before the first step, which then takes its time; later runs find the result in torch's cache.

    Parameters
    ----------
    network
        A `twist.learn.networks.TwistNet`.
    mode
        ``default``, ``reduce-overhead`` or ``max-autotune``, as torch.compile names them; ``off`` does nothing.
    """
    if mode == "off":
        return
    assert isinstance(network, TwistNet)
    # Views that grow, local ones, a last stage: more shapes than the 8 that torch compiles before it gives up.
    torch._dynamo.config.recompile_limit = 64
    for module in (network.backbone, network.projection_heads, *network.more_heads):
        module.compile(mode=None if mode == "default" else mode, dynamic=False)


def begin_step(mode: str) -> None:
    """Tell CUDA graphs, where the mode has them, that what the last step left in their memory is no longer needed."""
    if mode in ("reduce-overhead", "max-autotune"):
        torch.compiler.cudagraph_mark_step_begin()


def as_written(network: TwistNet) -> AbstractContextManager:
    """Within it a compiled network runs uncompiled: for batches of other sizes, which would each be compiled anew."""
    compiled = network.backbone._compiled_call_impl is not None
    # Asking torch's compiler for anything loads it, which takes a second.
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()
