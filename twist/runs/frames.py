"""Messages with arrays between two processes: one line of JSON, then the arrays as ``.npy`` content.

Plain enough to be read by eye, and nothing in it can be executed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from twist.runs.store import npy_bytes

LONGEST_LINE = 4_000_000
LARGEST_ARRAY = 1_000_000_000


class FrameError(RuntimeError):
    """What came over a pipe is no message, or a torn one."""


def write_frame(stream: IO[bytes], message: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
    """Write one message and flush it.

    Parameters
    ----------
    stream
        A binary stream that this process alone writes to.
    message
        Plain values; ``arrays`` is a reserved name, and numbers that are not finite are refused.
    arrays
        Arrays of plain numbers by name.
    """
    contents = {name: npy_bytes(array) for name, array in (arrays or {}).items()}
    sizes = {name: len(content) for name, content in contents.items()}
    line = json.dumps({**message, "arrays": sizes}, allow_nan=False, separators=(",", ":")).encode()
    stream.write(b"".join([line, b"\n", *contents.values()]))
    stream.flush()


def read_frame(stream: IO[bytes]) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """The next message and its arrays, or None at the end of the stream.

    Raises
    ------
    FrameError
        When the stream ends within a message, or holds something else.

    Examples
    --------
    >>> pipe = io.BytesIO()
    >>> write_frame(pipe, {"ask": "views"}, {"row": np.arange(3)})
    >>> _ = pipe.seek(0)
    >>> read_frame(pipe), read_frame(pipe)
    (({'ask': 'views'}, {'row': array([0, 1, 2])}), None)
    """
    line = stream.readline(LONGEST_LINE)
    if not line:
        return None
    try:
        message = json.loads(line)
        sizes = message.pop("arrays")
        arrays = {name: _read_array(stream, size) for name, size in sizes.items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise FrameError(f"no message, but {line[:80]!r} ({error})") from error
    return message, arrays


def _read_array(stream: IO[bytes], size: int) -> np.ndarray:
    if not 0 <= size <= LARGEST_ARRAY:
        raise FrameError(f"an array of {size} bytes was announced")
    content = stream.read(size)
    if len(content) != size:
        raise FrameError(f"the stream ended after {len(content)} of {size} bytes of an array")
    return np.load(io.BytesIO(content), allow_pickle=False)
