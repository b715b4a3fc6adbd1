"""How a tensor shows itself: as NumPy would, reading back no more than is shown."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ._native import Tensor

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
