"""The fused kernels against the sweeps that run everywhere: interpreted, compiled without a GPU, and on one."""

import importlib.util
import os
import subprocess
import sys
import warnings

import pytest
import torch

from twist.learn import kernels, paired_terms, sweeps
from twist.learn.objective import twist_loss

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")

INTERPRETED = """
import torch
from twist.learn import paired_terms, sweeps
from twist.learn.kernels import paired_sweeps
from twist.learn.objective import twist_loss

def by(module, logits, **options):
    paired_terms._choose_sweeps = lambda device, dtypes, num_views, kernels: module
    logits = logits.detach().requires_grad_()
    terms = twist_loss(list(logits), **options)
    gradients = [torch.autograd.grad(term, logits, retain_graph=True)[0] for term in terms]
    assert terms.total.dtype == torch.promote_types(logits.dtype, torch.float32)
    return torch.stack(list(terms)), torch.stack(gradients)

torch.manual_seed(0)
options = {"sharpness_weight": 0.4, "mean_over_processes": lambda means: (means + means.flip(0)) / 2}
for V, N, C, temperature, eps, dtype in (
    (2, 3, 5, 1, 1e-5, torch.float32),
    (3, 2, 1400, 0.6, 1e-5, torch.float32),
    (5, 4, 70, 0.6, 0, torch.float32),
    (2, 3, 40, 1, 1e-5, torch.bfloat16),
    (2, 3, 40, 1, 1e-5, torch.float16),
):
    logits = (2 * torch.randn(V, N, 2 * C)).to(dtype)[..., ::2]  # the kernels want a step of one: they copy
    options |= {"temperature": temperature, "eps": eps}
    found, expected = by(paired_sweeps, logits, **options), by(sweeps, logits.double(), **options)
    assert found[1].dtype == dtype
    rounding = 1e-6, 1e-5 + torch.finfo(dtype).eps
    for ours, theirs, tolerance in zip(found, expected, rounding):
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=tolerance * theirs.abs().max().item())

for scale in (0.0, 1e4):
    for eps in (0, 1e-5):
        logits = scale * torch.randn(3, 4, 33)
        found, expected = by(paired_sweeps, logits, eps=eps), by(sweeps, logits, eps=eps)
        for ours, theirs in zip(found, expected):
            assert ours.isfinite().all()
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-3)  # a float32 of 1e4 has no more digits
"""


@needs_triton
@pytest.mark.slow
def test_interpreted_kernels_give_the_terms_and_gradients_of_the_sweeps_in_float64_and_stay_finite():
    run(INTERPRETED, TRITON_INTERPRET="1")  # chosen before Triton is imported, hence a process of its own


def run(program, **environment):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, result.stderr


COMPILED = """
import triton
from jaxtyping import install_import_hook
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
with install_import_hook("twist.learn", "beartype.beartype"):  # as the tests on a GPU are run
    from twist.learn.kernels import paired_sweeps as kernels

def compiled(function, constants, capability, **types):
    names = function.arg_names
    signature = {name: "constexpr" if name in constants else types[name] for name in names}
    constants = {(names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=function, signature=signature, constexprs=constants)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=dict(kernels.LAUNCH))

pointers = "kept consistency sharpness mean_probs slope terms of_total of_consistency of_sharpness of_diversity".split()
numbers = "inverse_temperature eps consistency_weight sharpness_weight diversity_weight".split()
types = dict.fromkeys(pointers, "*fp32") | dict.fromkeys(numbers, "fp32")
types |= dict.fromkeys(("N", "C", "view_stride", "row_stride"), "i32")
for capability, views, logits in ((80, 2, "*fp32"), (90, 14, "*bf16")):
    types |= {"logits": logits, "gradient": logits}
    tile = {name: value for name, value in kernels._tile(views, 1e-5).items() if name not in kernels.LAUNCH}
    tile["V"] = views
    missing = dict.fromkeys(("of_consistency", "of_sharpness", "of_diversity"))
    alone = dict.fromkeys(("of_total", "of_sharpness", "of_diversity"))
    for function, constants in (
        (kernels._terms_of_samples, tile),
        (kernels._means_of_columns, {"ROWS": 32, "BLOCK": 128}),
        (kernels._finish, {"V": views, "EXACT": False, "BLOCK": 2048}),
        (kernels._gradient, tile | missing),
        (kernels._gradient, tile | alone),
    ):
        assert compiled(function, constants, capability, **types).asm["cubin"]
"""


@needs_triton
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Triton's compiler for CUDA comes with Linux alone")
def test_kernels_compile_for_two_generations_of_gpus_without_one(tmp_path):
    run(COMPILED, TRITON_CACHE_DIR=str(tmp_path), TRITON_INTERPRET="0")


class Failing:
    """Stands for kernels that a compiler or a driver refuses."""

    @staticmethod
    def first_sweep(*arguments, **options):
        raise RuntimeError("no such driver")


class Wrong:
    """Stands for kernels that compute something else."""

    first_sweep, finish = staticmethod(sweeps.first_sweep), staticmethod(sweeps.finish)

    @staticmethod
    def second_sweep(*arguments, **options):
        return 1.001 * sweeps.second_sweep(*arguments, **options)


@pytest.fixture
def stand_in(monkeypatch):
    """Put something else in the place of the kernels; the self-test forgets what it found."""

    def put(module):
        monkeypatch.setitem(sys.modules, "twist.learn.kernels.paired_sweeps", module)
        monkeypatch.setattr(kernels, "paired_sweeps", module, raising=False)

    kernels.passes_self_test.cache_clear()
    yield put
    kernels.passes_self_test.cache_clear()


@pytest.mark.parametrize(
    ("module", "reason"),
    [(Failing, "RuntimeError: no such driver"), (Wrong, "differ .* times the tolerance"), (None, "Error")],
)
def test_kernels_that_fail_or_differ_are_not_used_and_it_is_said_once(module, reason, stand_in):
    stand_in(module)
    with pytest.warns(UserWarning, match=f"fused kernels of the loss are not used on cpu, .*{reason}.*") as said:
        assert not kernels.passes_self_test(torch.device("cpu"), 5)
        assert not kernels.passes_self_test(torch.device("cpu"), 5)
    assert len(said) == 1


def test_kernels_that_agree_pass_the_self_test(stand_in):
    stand_in(sweeps)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kernels.passes_self_test(torch.device("cpu"), 5)


def test_kernels_are_for_cuda_for_at_most_float32_where_they_pass_and_only_if_wanted(monkeypatch, stand_in):
    stand_in(Wrong)
    verdict = True
    monkeypatch.setattr(paired_terms, "passes_self_test", lambda device, num_views: verdict)
    cpu, gpu, choose = torch.device("cpu"), torch.device("cuda", 0), paired_terms._choose_sweeps
    assert choose(gpu, {torch.float32}, 2, True) is choose(gpu, {torch.bfloat16}, 2, True) is Wrong
    assert choose(gpu, {torch.float32, torch.float64}, 2, True) is sweeps
    assert choose(gpu, {torch.float32}, 2, False) is sweeps
    assert choose(cpu, {torch.float32}, 2, True) is sweeps
    verdict = False
    assert choose(gpu, {torch.float32}, 2, True) is sweeps


@pytest.fixture
def cuda():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda", 0)


@pytest.mark.gpu
@needs_triton
def test_on_a_gpu_the_kernels_pass_their_self_test_and_agree(cuda):
    assert kernels.passes_self_test(cuda, 14) and kernels.passes_self_test(cuda, 2)
    for shape in ((14, 128, 4096), (2, 64, 32768)):
        logits = torch.randn(shape, device=cuda, requires_grad=True)
        found, expected = (
            (terms, torch.autograd.grad(terms.total, logits)[0])
            for terms in (twist_loss(logits), twist_loss(logits, kernels=False))
        )
        torch.testing.assert_close(tuple(found[0]), tuple(expected[0]), rtol=1e-5, atol=1e-6)
        scale = expected[1].abs().max()
        torch.testing.assert_close(found[1] / scale, expected[1] / scale, rtol=0, atol=1e-5)
        again = torch.autograd.grad(twist_loss(logits).total, logits)[0]
        assert torch.equal(again, found[1])


@pytest.mark.gpu
@needs_triton
@pytest.mark.parametrize("shape", [(14, 128, 4096), (2, 512, 32768)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_the_loss_is_four_kernels_within_twice_the_time_of_its_bytes(cuda, shape, dtype):
    logits = torch.randn(shape, device=cuda).to(dtype).requires_grad_()
    one = torch.ones((), device=cuda)

    def step():
        return torch.autograd.grad(twist_loss(logits).total, logits, one)

    for _ in range(3):
        step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        torch.cuda.synchronize()
    launched = [event.name for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    assert len(launched) <= 4, launched
    copied = torch.empty_like(logits)

    def milliseconds(work):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        times = []
        for _ in range(20):
            start.record()
            work()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end))
        return sorted(times)[len(times) // 2]

    copy, loss = milliseconds(lambda: copied.copy_(logits)), milliseconds(step)
    floor = 1.5 * copy  # a copy reads and writes once, the loss reads twice and writes once
    print(f"{shape} {dtype}: {1000 * loss:.0f} us, {loss / floor:.2f} times the floor of its bytes")
    assert loss <= 2 * floor
