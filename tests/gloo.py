"""Work done in several processes that talk over gloo, and what each of them found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from twist.learn import distributed
from twist.learn.networks import ProjectionHead, TwistNet
from twist.learn.norms import SyncNorm, share_norms
from twist.learn.objective import teacher_loss, twist_loss
from twist.learn.schedules import values_at
from twist.learn.self_label import self_label_loss
from twist.learn.step import TrainState, evaluate_loss, gradient_norms, make_teacher, over_processes


def run(function: Callable[..., Any], world: int, folder: Path, *arguments: Any) -> list[Any]:
    """Call a function of this module as ``function(rank, *arguments)`` in every process; their results by rank."""
    folder.mkdir(parents=True, exist_ok=True)
    mp.spawn(_process, args=(function, world, str(folder), arguments), nprocs=world, join=True)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world)]


def _process(rank: int, function: Callable[..., Any], world: int, folder: str, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    try:
        torch.save(function(rank, *arguments), f"{folder}/{rank}.pt")
        dist.barrier()
    finally:
        dist.destroy_process_group()


def _tensors(arrays: dict[str, Any], rank: int, *names: str) -> list[torch.Tensor]:
    return [torch.tensor(arrays[name][rank]) for name in names]


def recorded_losses(rank: int, arrays: dict[str, Any], meta: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Every loss of a recorded distributed case, and its gradients, as one process sees them."""
    found: dict[str, torch.Tensor] = {}
    weights = {"sharpness_weight": 1 + meta["lam1"], "diversity_weight": meta["lam2"], "eps": meta["EPS"]}
    weights["mean_over_processes"] = distributed.mean
    options = {"temperature": meta["tau"], "consistency_temperature": 1, **weights}

    def keep(name: str, terms: Any, inputs: list[torch.Tensor]) -> None:
        for field, value in zip(("final", "kl", "eh", "he"), terms, strict=True):
            found[f"{name}_{field}"] = distributed.mean(value.detach())
        found[f"{name}_grad"] = torch.stack(torch.autograd.grad(terms.total, inputs))

    views = [view.requires_grad_() for view in _tensors(arrays, rank, "ent_feat1", "ent_feat2")]
    keep("ent", twist_loss(views, **options), views)
    views = [view.requires_grad_() for view in torch.tensor(arrays["logits"][rank])]
    keep("multi", twist_loss(views, **options), views)
    teacher = list(torch.tensor(arrays["teacher_logits"][rank]))
    keep("mom", teacher_loss(views, teacher, temperature=meta["tau"], **weights), views)
    labelling = {"temperature": meta["tau"], "mask_temperature": 1, "quantile": meta["quantile"]}
    terms = self_label_loss(views, **labelling)
    found["sl_threshold"], found["sl_total"] = terms.threshold, terms.total.detach()
    found["sl_grad"] = torch.stack(
        [torch.zeros_like(view) if g is None else g for view, g in _gradients(terms.total, views)]
    )

    layer = nn.Linear(meta["D"], meta["C"]).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(arrays["weight"])), layer.bias.copy_(torch.tensor(arrays["bias"]))
    x = torch.cat(_tensors(arrays, rank, "x1", "x2"))
    twist_loss(layer(x).chunk(2), **options).total.backward()
    distributed.average_gradients(layer.parameters())
    found["ddp_grad_weight"], found["ddp_grad_bias"] = layer.weight.grad.clone(), layer.bias.grad.clone()
    layer.zero_grad()
    rows = torch.tensor(arrays["x_views"][rank])
    self_label_loss(list(layer(rows)), **labelling).total.backward()
    distributed.average_gradients(layer.parameters())
    found["ddpsl_grad_weight"], found["ddpsl_grad_bias"] = layer.weight.grad, layer.bias.grad
    return found


def _gradients(value: torch.Tensor, inputs: list[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    return list(zip(inputs, torch.autograd.grad(value, inputs, allow_unused=True), strict=True))


class SmallBackbone(nn.Module):
    """Two convolutions with norms, in float64 small enough for many processes."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6)

    def forward(self, images):
        return self.bn2(self.conv2(self.bn1(self.conv1(images)).relu())).relu().mean((2, 3))


def step_gradients(rank: int, views: list[torch.Tensor], recipe: Any, self_labelling: bool) -> dict[str, torch.Tensor]:
    """Gradients of every parameter after one step's loss, each process holding its share of the joined batch."""
    torch.manual_seed(0)
    bunch = recipe.network.bunch_size
    head = ProjectionHead(6, 8, 5, final_norm=recipe.network.final_norm, bunch_size=bunch)
    network = TwistNet(SmallBackbone(), head).double().train()
    samples = len(views[0]) // distributed.world_size()
    share_norms(network, batch_size=samples, bunch_size=bunch, sync=recipe.network.sync_norm)
    teacher = None
    if recipe.teacher.enabled:
        teacher = make_teacher(network)
        with torch.no_grad():
            for parameter in teacher.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    state = TrainState(network, torch.optim.SGD(network.parameters(), lr=0.1), teacher)
    mine = [view[rank * samples : (rank + 1) * samples] for view in views]
    values = values_at(0, recipe, 10)._replace(self_labelling=self_labelling)
    report = evaluate_loss(state, mine, recipe, values)
    report.total.backward()
    distributed.average_gradients(network.parameters())
    named = report.named()
    numbers = dict(zip(named, over_processes(named).tolist(), strict=True))
    if not self_labelling:
        numbers |= {f"gradient of {name}": norm.item() for name, norm in gradient_norms(report, recipe).items()}
    found = {name: parameter.grad for name, parameter in network.named_parameters()}
    found |= {f"buffer {name}": buffer for name, buffer in network.named_buffers()}
    return found | {f"number {name}": torch.tensor(value) for name, value in numbers.items()}


def step_gradients_of_all(rank: int, jobs: dict[str, tuple[Any, ...]]) -> dict[str, dict[str, torch.Tensor]]:
    """`step_gradients` of several jobs in one set of processes: starting them takes longest."""
    return {name: step_gradients(rank, *job) for name, job in jobs.items()}


def norms(rank: int, rows: torch.Tensor, upstream: torch.Tensor, cuts: list[int]) -> dict[str, torch.Tensor]:
    """A `SyncNorm` over rows that are shared out unevenly."""
    norm = SyncNorm(rows.shape[1]).double()
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, rows.shape[1])), norm.bias.fill_(0.3)
    mine = rows[cuts[rank] : cuts[rank + 1]].clone().requires_grad_()
    output = norm(mine)
    (output * upstream[cuts[rank] : cuts[rank + 1]]).sum().backward()
    return {"output": output.detach(), "gradient": mine.grad, "mean": norm.running_mean, "var": norm.running_var}
