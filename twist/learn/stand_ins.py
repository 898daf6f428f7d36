"""What stands for the harmless classes that others' checkpoints name, while one is read: it takes anything, keeps none.

A checkpoint of Lightning holds the configuration of its training, of OmegaConf's classes; of another, a
number of numpy. None is needed and none is loaded: for each of these names a class of ours is made that does nothing.
Any other name still ends the reading.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Arguments:
    """Stands for `argparse.Namespace`: keeps what it is filled with and nothing else."""

    __slots__ = ("values",)

    def __setstate__(self, values: object) -> None:
        self.values = values


class _Nothing:
    """Stands for anything: takes what it is called and filled with, and forgets it."""

    __slots__ = ()

    def __new__(cls, *_: Any) -> _Nothing:
        return object.__new__(cls)

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _empty(*_: Any) -> dict:
    return {}


def stand_ins() -> list[Callable | tuple[Callable, str]]:
    """Pairs for `torch.serialization.safe_globals`: what is made, and the name that a file gives it."""
    made: list[Callable | tuple[Callable, str]] = [(Arguments, "argparse.Namespace")]
    made += [(_empty, "collections.defaultdict")]
    made += [(dict, name) for name in _DICTIONARIES]  # filled as they are read
    return made + [(_Nothing, name) for name in _NOTHINGS]


_DICTIONARIES = (
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
)
_NODES = ("AnyNode", "StringNode", "IntegerNode", "FloatNode", "BooleanNode", "BytesNode", "PathNode", "EnumNode")
_NOTHINGS = (
    *("omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig"),
    *("omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata", "typing.Any"),
    *(f"omegaconf.nodes.{node}" for node in _NODES),
    *("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint", "numpy.dtype", "_codecs.encode"),
    *("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtypes.Float64DType"),
    *("numpy.dtypes.Float32DType", "numpy.dtypes.Int64DType"),
    *(f"builtins.{kind}" for kind in ("dict", "list", "int", "float", "str", "bool", "tuple")),
)
