"""How tensors and kernels show themselves. Of a tensor no more is read back than is shown."""

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ._native import Kernel, Tensor

_EDGE = 3


def show(tensor: "Tensor") -> str:
    """Write the values (the first and last few of a large tensor), the shape, the dtype and the device."""
    large = tensor.size > np.get_printoptions()["threshold"]
    values = _edges(tensor, 0) if large else tensor.numpy()
    text = np.array2string(
        values, separator=", ", prefix="Tensor(", threshold=0 if large else values.size + 1, edgeitems=_EDGE
    )
    return f"Tensor({text}, shape={tensor.shape}, dtype={tensor.dtype}, device={tensor.device.id})"


def _edges(tensor: "Tensor", axis: int) -> np.ndarray[Any, Any]:
    """Leave out the middle of long axes, which NumPy then replaces by dots."""
    if axis == tensor.ndim:
        return tensor.numpy()
    if tensor.shape[axis] <= 2 * _EDGE + 1:
        return _edges(tensor, axis + 1)
    before = (slice(None),) * axis
    parts = [_edges(tensor[(*before, part)], axis + 1) for part in (slice(_EDGE + 1), slice(-_EDGE, None))]
    return np.concatenate(parts, axis)


def kernel_html(kernel: "Kernel") -> str:
    """Show what a kernel declares as a table, and its source to be folded out."""
    size = kernel.workgroup_size
    facts = [f"workgroups of {' × '.join(map(str, size))}" if size else "workgroups of a size to be given"]
    facts += ["trusted: no bounds checks"] * kernel.trusted
    facts += [f"{name} = {'to be given' if value is None else value}" for name, value in kernel.constants.items()]
    rows = [
        ("variable", "access", "type", "dtype"),
        *((each.name, each.access, each.type, str(each.dtype)) for each in kernel.bindings.values()),
    ]
    cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    table = "".join(f"<tr>{row}</tr>" for row in cells)
    return (
        f"<b>{escape(kernel.name)}</b>: {escape(', '.join(facts))}<table>{table}</table>"
        f"<details><summary>WGSL</summary><pre>{escape(kernel.source)}</pre></details>"
    )
