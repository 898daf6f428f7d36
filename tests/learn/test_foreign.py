import argparse
import os
import pathlib
import pickle
import signal
import struct
import sys
import tempfile
import warnings
import zipfile
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file

from twist.learn import foreign
from twist.learn.foreign import read_foreign
from twist.runs.config import ConfigError


def tensors(prefix="", seed=0):
    generator = torch.Generator().manual_seed(seed)
    names = ("conv1.weight", "bn1.running_mean", "bn1.running_var")
    return {prefix + name: torch.rand(3, 4, generator=generator) for name in names}


def head(old=False, seed=1):
    last, norm = ("cls_heads.0.0", "cls_heads.0.1") if old else ("last_linear", "norm")
    generator = torch.Generator().manual_seed(seed)
    names = ("projection_head.0.weight", f"{last}.weight", f"{last}.bias", f"{norm}.running_mean")
    return {f"projection_heads.{name}": torch.rand(5, generator=generator) for name in names}


def authors(prefix="", old=False):
    network = {**tensors("backbone."), **head(old)}
    return {
        "model": OrderedDict((prefix + name, tensor) for name, tensor in network.items()),
        "backbone": {name.removeprefix("backbone."): network[name] for name in tensors("backbone.")},
        "optimizer": {"state": {0: {"momentum_buffer": torch.rand(3)}}, "param_groups": [{"lr": 0.5, "params": [0]}]},
        "epoch": 849,
        "scaler": {"scale": 65536.0},
        "args": argparse.Namespace(backbone="resnet50", dim=4096, tau=1.0, local_crops_number=(12,), lmdb=False),
    }


def save(path, content, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sparse and quantized tensors
        torch.save(content, path, **options)
    return path


def assert_equal(found, expected):
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.fixture
def in_process(monkeypatch):
    """Read without a child, whose start takes seconds; what the child does is the same function."""
    monkeypatch.setattr(foreign, "_read_apart", foreign._read)


# Of the child process


def test_the_authors_checkpoint_is_tensors_by_part_and_plain_arguments(tmp_path):
    path = save(tmp_path / "checkpoint.pth", authors())
    found = read_foreign(path)
    assert found.path == path and found.epoch == 849 and found.unread == ("optimizer", "scaler")
    assert set(found.tensors) == {"model", "backbone"}
    assert_equal(found.tensors["model"], {**tensors("backbone."), **head()})
    assert_equal(found.tensors["backbone"], tensors())
    assert found.arguments == {
        "backbone": "resnet50",
        "dim": 4096,
        "tau": 1.0,
        "local_crops_number": [12],
        "lmdb": False,
    }


def reduced(module, name, *arguments):
    """A pickle of protocol 2 that calls a function when it is read."""
    texts = b"".join(b"X" + struct.pack("<I", len(text)) + text.encode() for text in arguments)
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"(" + texts + b"tR."


def in_archive(path, program):
    """An archive of torch.save in which the program stands for the object."""
    save(path, {"a": torch.rand(2)})
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, program if name.endswith("data.pkl") else content)
    return path


def test_a_program_is_refused_by_name_not_run_and_leaves_nothing(tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    canary, path = tmp_path / "canary", tmp_path / "weights.pth"
    in_archive(path, reduced("posix", "system", f"touch {canary}"))
    with pytest.raises(ConfigError, match=r"weights.pth' is not read: it asks to load 'posix.system', which may run"):
        read_foreign(path)
    assert sorted(os.listdir(tmp_path)) == ["temporary", "weights.pth"] and not os.listdir(temporary)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
def test_a_claim_of_gigabytes_in_a_small_file_meets_the_limit_of_memory(tmp_path):
    path = save(tmp_path / "claim.pth", {"a": torch.rand(7)}, _use_new_zipfile_serialization=False)
    content, eight_gigabytes = path.read_bytes(), b"\x8a\x05" + (2**31).to_bytes(5, "little")
    assert content.count(b"K\x07N") == 1  # the number of elements of the storage
    path.write_bytes(content.replace(b"K\x07N", eight_gigabytes + b"N"))
    with pytest.raises(ConfigError, match="claim.pth' is not read: reading it needs far more memory than its size"):
        read_foreign(path)


def child(monkeypatch, code):
    monkeypatch.setattr(foreign, "_command", lambda file, folder, seconds: [sys.executable, "-c", code, str(folder)])


def test_the_child_has_none_of_our_secrets_no_input_and_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "canary")
    see = "import json, os, sys; print(json.dumps([dict(os.environ), sys.stdin.read(), os.getcwd()]), file=sys.stderr)"
    child(monkeypatch, see + "; sys.exit(1)")
    path = save(tmp_path / "a.pth", tensors())
    monkeypatch.setattr(foreign, "short", lambda text, length=200: text)
    with pytest.raises(ConfigError, match="the process that read it failed") as refused:
        read_foreign(path)
    message = str(refused.value)
    assert "canary" not in message and "HOME" not in message and '"CUDA_VISIBLE_DEVICES": ""' in message
    assert '}, "", "' in message and "twist-foreign-" in message


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals of this kind")
def test_a_crash_of_the_child_is_a_sentence(tmp_path, monkeypatch):
    child(monkeypatch, f"import os; os.kill(os.getpid(), {int(signal.SIGSEGV)})")
    with pytest.raises(ConfigError, match=r"a.pth' is not read: the process that read it crashed \(SIGSEGV\)"):
        read_foreign(save(tmp_path / "a.pth", tensors()))


def test_a_child_that_does_not_end_is_ended(tmp_path, monkeypatch):
    child(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(foreign, "_START_S", 0.3)
    with pytest.raises(ConfigError, match="reading it took longer than 0 s"):
        read_foreign(save(tmp_path / "a.pth", tensors()))


# Of names


@pytest.mark.parametrize("old", [False, True], ids=["last_linear", "cls_heads"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_both_namings_of_the_head_and_the_distributed_prefix_read_the_same(tmp_path, in_process, old, prefix):
    found = read_foreign(save(tmp_path / "a.pth", authors(prefix, old)))
    assert_equal(found.tensors["model"], {**tensors("backbone."), **head()})


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
@pytest.mark.parametrize("form", ["zip", "older", "safetensors"])
def test_a_bare_state_dict_of_a_backbone_is_its_backbone(tmp_path, in_process, prefix, form):
    path = tmp_path / ("a.safetensors" if form == "safetensors" else "a.pth")
    if form == "safetensors":
        save_file(tensors(prefix), path)
    else:
        save(path, tensors(prefix), _use_new_zipfile_serialization=form == "zip")
    found = read_foreign(path)
    assert set(found.tensors) == {"backbone"} and found.arguments == {} and found.epoch is None
    assert_equal(found.tensors["backbone"], tensors())


def test_a_bare_state_dict_of_a_network_is_its_model(tmp_path, in_process):
    found = read_foreign(save(tmp_path / "a.pth", {**tensors("backbone."), **head(old=True)}))
    assert_equal(found.tensors["model"], {**tensors("backbone."), **head()})


def test_safetensors_need_no_child(tmp_path, monkeypatch):
    monkeypatch.delattr(foreign, "_read_apart")
    save_file(tensors(), tmp_path / "a.safetensors")
    assert_equal(read_foreign(tmp_path / "a.safetensors").tensors["backbone"], tensors())


def test_a_name_in_both_namings_is_refused(tmp_path, in_process):
    path = save(tmp_path / "a.pth", {**head(), **head(old=True)})
    with pytest.raises(ConfigError, match="two of its tensors have the same name"):
        read_foreign(path)


# Of arguments


def test_arguments_that_are_not_plain_are_left_out_and_named(tmp_path, in_process):
    endless = []
    endless.append(endless)
    odd = {"labels": torch.rand(3), "endless": endless, "bytes": b"x", "text": "\x1b[2J", "large": 2**80}
    content = {**authors(), "args": argparse.Namespace(dim=7, names=["a", None, {"b": 1.5}], **odd)}
    found = read_foreign(save(tmp_path / "a.pth", content))
    assert found.arguments == {"dim": 7, "names": ["a", None, {"b": 1.5}]}
    assert found.unread[2:] == tuple(f"args.{name}" for name in odd)


def test_arguments_named_like_methods_are_data(tmp_path, in_process):
    odd = {"__setstate__": 1, "__class__": "os", "__dict__": 2, "values": 3}
    given = argparse.Namespace()
    vars(given).update(odd)
    found = read_foreign(save(tmp_path / "a.pth", {**authors(), "args": given}))
    assert found.arguments == odd


def test_a_dictionary_of_arguments_reads_as_a_namespace_does(tmp_path, in_process):
    found = read_foreign(save(tmp_path / "a.pth", {**authors(), "args": {"dim": 7}, "epoch": "last"}))
    assert found.arguments == {"dim": 7} and found.epoch is None


# Of refusals


def assert_refused(path):
    with pytest.raises(ConfigError) as error:
        read_foreign(path)
    message = str(error.value)
    assert repr(str(path)) in message and "\n" not in message and len(message) < 500 + len(str(path))
    assert "weights_only" not in message  # torch's own advice is to switch the safety off
    return message


CALLS = [
    *(("os", "system"), ("posix", "system"), ("nt", "system"), ("subprocess", "Popen"), ("subprocess", "getoutput")),
    *(("builtins", "eval"), ("builtins", "exec"), ("builtins", "compile"), ("builtins", "__import__")),
    *(("builtins", "getattr"), ("builtins", "open"), ("__builtin__", "eval"), ("importlib", "import_module")),
    *(("runpy", "run_path"), ("pty", "spawn"), ("shutil", "rmtree"), ("ctypes", "CDLL"), ("pickle", "loads")),
    *(("_pickle", "loads"), ("functools", "partial"), ("operator", "attrgetter"), ("types", "CodeType")),
    *(("torch", "load"), ("torch.hub", "load"), ("torch.serialization", "load"), ("numpy", "load")),
    *(("socket", "create_connection"), ("urllib.request", "urlopen"), ("argparse", "open"), ("sys", "exit")),
    *(("argparse", "ArgumentParser"), ("argparse", "_sys.exit"), ("pathlib", "Path"), ("pathlib", "PosixPath")),
    *(("twist.learn.own_code", "load_own"), ("twist.learn.foreign", "_main"), ("code", "interact")),
]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no touch")
def test_the_program_of_these_tests_runs_where_it_is_allowed_to(tmp_path):
    pickle.loads(reduced("os", "system", f"touch {tmp_path / 'canary'}"))
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("form", ["archive", "older", "argument"])
@pytest.mark.parametrize(("module", "name"), CALLS, ids=".".join)
def test_no_program_is_run(tmp_path, in_process, module, name, form):
    canary, path = tmp_path / "canary", tmp_path / "a.pth"
    program = reduced(module, name, f"touch {canary}")
    if form == "archive":
        in_archive(path, program)
    elif form == "older":
        path.write_bytes(program)
    else:  # {"model": {}, "args": Namespace(x=program)}
        inside = b"cargparse\nNamespace\n)\x81}X\x01\x00\x00\x00x" + program[2:-1] + b"sb"
        in_archive(path, b"\x80\x02}(X\x05\x00\x00\x00model}X\x04\x00\x00\x00args" + inside + b"u.")
    before = os.listdir(tmp_path)
    message = assert_refused(path)
    assert "it asks to load" in message and name in message
    assert os.listdir(tmp_path) == before


def lies(kind):
    crow, columns = torch.tensor([0, 10**12, 3]), torch.tensor([0, 1, 2])
    if kind == "compressed rows out of bounds":
        return torch.sparse_csr_tensor(crow, columns, torch.ones(3), size=(2, 3), check_invariants=False)
    indices = torch.tensor([[0, 10**9]])
    return torch.sparse_coo_tensor(indices, torch.ones(2), size=(3,), check_invariants=False)


UNSAFE = {
    "compressed rows out of bounds": (lambda: lies("compressed rows out of bounds"), "it is damaged"),
    "indices out of bounds": (lambda: lies("indices out of bounds"), "it is damaged"),
    "sparse": (lambda: torch.eye(4).to_sparse(), "a is sparse"),
    "compressed rows": (lambda: torch.eye(4).to_sparse_csr(), "a is sparse"),
    "compressed columns": (lambda: torch.eye(4).to_sparse_csc(), "a is sparse"),
    "blocks": (lambda: torch.eye(4).to_sparse_bsr((2, 2)), "a is sparse"),
    "quantized": (lambda: torch.quantize_per_tensor(torch.eye(4), 0.1, 0, torch.qint8), "a is quantized"),
    "meta": (lambda: torch.empty(10**6, 10**6, device="meta"), "a is without numbers"),
    "expanded": (lambda: torch.zeros(1).expand(10**6, 10**6), "a is larger than what is stored of it"),
    "overlapping": (lambda: torch.zeros(10).as_strided((9, 9), (1, 0)), "a is larger than what is stored of it"),
    "complex": (lambda: torch.zeros(2, dtype=torch.complex64), "a is of complex64"),
    "eight bits": (lambda: torch.zeros(2).to(torch.float8_e5m2), "a is of float8_e5m2"),
    "negated": (lambda: torch._neg_view(torch.ones(2)), "a is marked as negated"),
}


@pytest.mark.filterwarnings("ignore")  # torch's own, of sparse and quantized tensors
@pytest.mark.parametrize("kind", UNSAFE)
def test_only_dense_ordinary_tensors_are_read(tmp_path, in_process, kind):
    make, reason = UNSAFE[kind]
    for content in ({"a": make()}, {"model": {"a": make()}}):
        assert reason in assert_refused(save(tmp_path / "a.pth", content))


def test_tensors_that_share_one_storage_do_not_multiply_it(tmp_path, in_process):
    one = torch.rand(50_000)
    assert "its tensors claim 20,000,000 bytes" in assert_refused(
        save(tmp_path / "a.pth", {str(i): one for i in range(100)})
    )


def test_parameters_are_tensors(tmp_path, in_process):
    parameters = {name: torch.nn.Parameter(tensor) for name, tensor in tensors().items()}
    assert_equal(read_foreign(save(tmp_path / "a.pth", parameters)).tensors["backbone"], tensors())


def write(path, content):
    path.write_bytes(content)
    return path


def compressed(path):
    save(path, {"a": torch.zeros(10**6)})
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def claiming(path):
    """An archive whose directory gives an entry another size than it has."""
    content = bytearray(save(path, {"a": torch.rand(1000)}).read_bytes())
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(b"data/0"))
    content[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)
    return write(path, bytes(content))


def flipped(path):
    """One bit of one weight is another."""
    content = bytearray(save(path, {"a": torch.arange(100_000, 101_000)}).read_bytes())
    content[content.index(struct.pack("<q", 100_500))] ^= 1
    return write(path, bytes(content))


BROKEN = {
    "text": (lambda path: write(path, b"hello, this is no checkpoint"), "it is damaged or no checkpoint"),
    "empty": (lambda path: write(path, b""), "it ends too early"),
    "noise": (lambda path: write(path, bytes(range(256)) * 9), "it is damaged or no checkpoint"),
    "torn": (lambda path: write(path, save(path, tensors()).read_bytes()[:-300]), "its archive is torn"),
    "a beginning": (lambda path: write(path, save(path, tensors()).read_bytes()[:9]), "its archive is torn"),
    "older, torn": (
        lambda path: write(path, save(path, tensors(), _use_new_zipfile_serialization=False).read_bytes()[:-9]),
        "it is damaged or no checkpoint",
    ),
    "flipped": (flipped, "data/0 differs from its checksum"),
    "compressed": (compressed, "its archive is compressed"),
    "claiming": (claiming, "claim to be larger than the file"),
    "a list": (lambda path: save(path, [1, 2]), "it holds a list"),
    "a module": (lambda path: save(path, torch.nn.Linear(2, 2)), "it asks to load 'torch.nn.modules.linear.Linear'"),
    "a path": (
        lambda path: save(path, {**authors(), "args": argparse.Namespace(folder=pathlib.PurePosixPath("/x"))}),
        "it asks to load 'pathlib.PurePosixPath'",
    ),
    "other keys": (lambda path: save(path, {"state": {"a": torch.rand(2)}}), "its keys are 'state'"),
    "nothing": (lambda path: save(path, {}), "its keys are none"),
    "odd names": (lambda path: save(path, {"a\x1b[2J": torch.rand(2)}), "is no name of a tensor"),
    "no tensors": (lambda path: save(path, {"model": {"a": 3}}), "a is a int, not a plain tensor"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_checkpoint_is_refused_with_its_reason(tmp_path, in_process, kind):
    make, reason = BROKEN[kind]
    assert reason in assert_refused(make(tmp_path / "a.pth"))


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", struct.pack("<Q", 2**62) + b"{}", struct.pack("<Q", 2) + b"{}x"],
    ids=["empty", "text", "header of 2**62 bytes", "bytes left over"],
)
def test_damaged_safetensors_are_refused(tmp_path, content):
    assert "it is damaged or no safetensors file" in assert_refused(write(tmp_path / "a.safetensors", content))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no file '.*none.pth': give a checkpoint"):
        read_foreign(tmp_path / "none.pth")
