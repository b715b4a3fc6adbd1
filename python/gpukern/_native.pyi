from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from mmap import mmap
from types import EllipsisType
from typing import Any, Literal, Protocol, Self, SupportsIndex, TypeAlias, final, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

__version__: str

_DeviceLike: TypeAlias = Device | str
_Scalar: TypeAlias = bool | int | float | np.number[Any] | np.bool
_Host: TypeAlias = ArrayLike
_Operand: TypeAlias = Tensor | _Host
_IndexItem: TypeAlias = SupportsIndex | slice | EllipsisType | None
_Index: TypeAlias = _IndexItem | tuple[_IndexItem, ...]
_Axes: TypeAlias = SupportsIndex | tuple[SupportsIndex, ...] | None
_Integers: TypeAlias = Sequence[SupportsIndex] | NDArray[np.integer[Any]]
_Shape: TypeAlias = SupportsIndex | _Integers
_Lengths: TypeAlias = _Shape | Tensor
_Constant: TypeAlias = bool | float | DTypeLike
_Extents: TypeAlias = SupportsIndex | Sequence[SupportsIndex]
_Activation: TypeAlias = Literal["relu", "squared_relu", "silu", "gelu", "gelu_tanh", "sigmoid", "tanh"]

class Error(Exception): ...
class ShapeError(Error, ValueError): ...
class DTypeError(Error, TypeError): ...
class DeviceError(Error, RuntimeError): ...
class DeviceNotFoundError(DeviceError): ...
class DeviceLostError(DeviceError): ...
class OutOfMemoryError(Error, MemoryError): ...
class KernelError(Error, ValueError): ...
class FileError(Error, ValueError): ...
class BoundsError(Error, IndexError): ...
class ArgumentError(Error, ValueError): ...
class PrecisionWarning(UserWarning): ...

@final
class Memory:
    @property
    def in_use(self) -> int: ...
    @property
    def pooled(self) -> int: ...
    @property
    def peak(self) -> int: ...
    @property
    def limit(self) -> int: ...
    @property
    def hits(self) -> int: ...
    @property
    def misses(self) -> int: ...
    def empty(self) -> None: ...

@final
class Device:
    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def backend(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def driver(self) -> str: ...
    @property
    def features(self) -> frozenset[str]: ...
    @property
    def limits(self) -> dict[str, int]: ...
    @property
    def memory(self) -> Memory: ...
    def with_caps(self, caps: str) -> Device: ...
    def synchronize(self) -> None: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Tensor:
    __array_ufunc__: None
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def itemsize(self) -> int: ...
    @property
    def device(self) -> Device: ...
    @property
    def T(self) -> Tensor: ...
    @property
    def mT(self) -> Tensor: ...
    def numpy(self) -> NDArray[Any]: ...
    def to(self, device: _DeviceLike) -> Tensor: ...
    def astype(self, dtype: DTypeLike, copy: bool = True) -> Tensor: ...
    def view(self, dtype: DTypeLike) -> Tensor: ...
    def reshape(self, *shape: _Shape) -> Tensor: ...
    def transpose(self, *axes: _Shape | None) -> Tensor: ...
    def sum(self, axis: _Axes = None, keepdims: bool = False, *, out: Tensor | None = None) -> Tensor: ...
    def mean(self, axis: _Axes = None, keepdims: bool = False, *, out: Tensor | None = None) -> Tensor: ...
    def prod(self, axis: _Axes = None, keepdims: bool = False, *, out: Tensor | None = None) -> Tensor: ...
    def max(self, axis: _Axes = None, keepdims: bool = False, *, out: Tensor | None = None) -> Tensor: ...
    def min(self, axis: _Axes = None, keepdims: bool = False, *, out: Tensor | None = None) -> Tensor: ...
    def any(self, axis: _Axes = None, keepdims: bool = False, *, out: Tensor | None = None) -> Tensor: ...
    def all(self, axis: _Axes = None, keepdims: bool = False, *, out: Tensor | None = None) -> Tensor: ...
    def argmax(
        self, axis: SupportsIndex | None = None, keepdims: bool = False, *, out: Tensor | None = None
    ) -> Tensor: ...
    def argmin(
        self, axis: SupportsIndex | None = None, keepdims: bool = False, *, out: Tensor | None = None
    ) -> Tensor: ...
    def var(
        self, axis: _Axes = None, *, correction: float = 0.0, keepdims: bool = False, out: Tensor | None = None
    ) -> Tensor: ...
    def std(
        self, axis: _Axes = None, *, correction: float = 0.0, keepdims: bool = False, out: Tensor | None = None
    ) -> Tensor: ...
    def item(self) -> float | int | bool: ...
    def tolist(self) -> Any: ...
    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]: ...
    def __getitem__(self, key: _Index, /) -> Tensor: ...
    def __setitem__(self, key: _Index, value: ArrayLike | Tensor, /) -> None: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __copy__(self) -> Tensor: ...
    def __deepcopy__(self, memo: dict[int, Any], /) -> Tensor: ...
    def __format__(self, spec: str, /) -> str: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Tensor]: ...
    def __float__(self) -> float: ...
    def __int__(self) -> int: ...
    def __index__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __add__(self, value: _Operand, /) -> Tensor: ...
    def __radd__(self, value: _Operand, /) -> Tensor: ...
    def __sub__(self, value: _Operand, /) -> Tensor: ...
    def __rsub__(self, value: _Operand, /) -> Tensor: ...
    def __mul__(self, value: _Operand, /) -> Tensor: ...
    def __rmul__(self, value: _Operand, /) -> Tensor: ...
    def __truediv__(self, value: _Operand, /) -> Tensor: ...
    def __rtruediv__(self, value: _Operand, /) -> Tensor: ...
    def __floordiv__(self, value: _Operand, /) -> Tensor: ...
    def __rfloordiv__(self, value: _Operand, /) -> Tensor: ...
    def __mod__(self, value: _Operand, /) -> Tensor: ...
    def __rmod__(self, value: _Operand, /) -> Tensor: ...
    def __and__(self, value: _Operand, /) -> Tensor: ...
    def __rand__(self, value: _Operand, /) -> Tensor: ...
    def __or__(self, value: _Operand, /) -> Tensor: ...
    def __ror__(self, value: _Operand, /) -> Tensor: ...
    def __xor__(self, value: _Operand, /) -> Tensor: ...
    def __rxor__(self, value: _Operand, /) -> Tensor: ...
    def __lshift__(self, value: _Operand, /) -> Tensor: ...
    def __rlshift__(self, value: _Operand, /) -> Tensor: ...
    def __rshift__(self, value: _Operand, /) -> Tensor: ...
    def __rrshift__(self, value: _Operand, /) -> Tensor: ...
    def __pow__(self, value: _Operand, mod: None = None, /) -> Tensor: ...
    def __rpow__(self, value: _Operand, mod: None = None, /) -> Tensor: ...
    def __neg__(self) -> Tensor: ...
    def __pos__(self) -> Tensor: ...
    def __abs__(self) -> Tensor: ...
    def __invert__(self) -> Tensor: ...
    def __eq__(self, value: object, /) -> Tensor: ...  # type: ignore[override]
    def __ne__(self, value: object, /) -> Tensor: ...  # type: ignore[override]
    def __lt__(self, value: _Operand, /) -> Tensor: ...
    def __le__(self, value: _Operand, /) -> Tensor: ...
    def __gt__(self, value: _Operand, /) -> Tensor: ...
    def __ge__(self, value: _Operand, /) -> Tensor: ...
    __hash__: None  # type: ignore[assignment]
    def __matmul__(self, value: Tensor | QuantTensor | NDArray[Any], /) -> Tensor: ...
    def __rmatmul__(self, value: NDArray[Any], /) -> Tensor: ...

# Making tensors

def asarray(
    obj: ArrayLike | Tensor,
    dtype: DTypeLike | None = None,
    *,
    device: _DeviceLike | None = None,
    copy: bool | None = None,
) -> Tensor: ...
def empty(shape: _Shape, dtype: DTypeLike | None = None, *, device: _DeviceLike | None = None) -> Tensor: ...
def zeros(shape: _Shape, dtype: DTypeLike | None = None, *, device: _DeviceLike | None = None) -> Tensor: ...
def ones(shape: _Shape, dtype: DTypeLike | None = None, *, device: _DeviceLike | None = None) -> Tensor: ...
def full(
    shape: _Shape, fill_value: _Scalar, dtype: DTypeLike | None = None, *, device: _DeviceLike | None = None
) -> Tensor: ...
def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    dtype: DTypeLike | None = None,
    *,
    device: _DeviceLike | None = None,
) -> Tensor: ...

# Operations. An elementwise one is a line of this list.

@final
class QuantTensor:
    __array_ufunc__: None
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def ndim(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def device(self) -> Device: ...
    @property
    def blocks(self) -> Tensor: ...
    @property
    def T(self) -> QuantTensor: ...
    @property
    def mT(self) -> QuantTensor: ...
    def dequantize(self, dtype: DTypeLike = "float32") -> Tensor: ...
    def to(self, device: _DeviceLike) -> QuantTensor: ...
    def __copy__(self) -> QuantTensor: ...
    def __deepcopy__(self, memo: dict[int, Any], /) -> QuantTensor: ...
    def __getitem__(self, key: _Index, /) -> QuantTensor: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[QuantTensor]: ...
    def __matmul__(self, value: Tensor | NDArray[Any], /) -> Tensor: ...
    def __rmatmul__(self, value: Tensor | NDArray[Any], /) -> Tensor: ...

class _Unary(Protocol):
    @overload
    def __call__(self, x: Tensor, /, *, out: Tensor | None = None, device: _DeviceLike | None = None) -> Tensor: ...
    @overload
    def __call__(self, x: _Host, /, *, out: Tensor, device: _DeviceLike | None = None) -> Tensor: ...
    @overload
    def __call__(
        self, x: _Host, /, *, out: NDArray[Any] | None = None, device: _DeviceLike | None = None
    ) -> NDArray[Any]: ...

class _Binary(Protocol):
    @overload
    def __call__(
        self, x1: Tensor, x2: _Operand, /, *, out: Tensor | None = None, device: _DeviceLike | None = None
    ) -> Tensor: ...
    @overload
    def __call__(
        self, x1: _Operand, x2: Tensor, /, *, out: Tensor | None = None, device: _DeviceLike | None = None
    ) -> Tensor: ...
    @overload
    def __call__(self, x1: _Host, x2: _Host, /, *, out: Tensor, device: _DeviceLike | None = None) -> Tensor: ...
    @overload
    def __call__(
        self, x1: _Host, x2: _Host, /, *, out: NDArray[Any] | None = None, device: _DeviceLike | None = None
    ) -> NDArray[Any]: ...

class _Gated(Protocol):
    @overload
    def __call__(
        self, gate: Tensor, up: _Operand, /, *, out: Tensor | None = None, device: _DeviceLike | None = None
    ) -> Tensor: ...
    @overload
    def __call__(
        self, gate: _Operand, up: Tensor, /, *, out: Tensor | None = None, device: _DeviceLike | None = None
    ) -> Tensor: ...
    @overload
    def __call__(self, gate: _Host, up: _Host, /, *, out: Tensor, device: _DeviceLike | None = None) -> Tensor: ...
    @overload
    def __call__(
        self, gate: _Host, up: _Host, /, *, out: NDArray[Any] | None = None, device: _DeviceLike | None = None
    ) -> NDArray[Any]: ...

abs: _Unary
add: _Binary
bitwise_and: _Binary
bitwise_invert: _Unary
bitwise_left_shift: _Binary
bitwise_or: _Binary
bitwise_right_shift: _Binary
bitwise_xor: _Binary
ceil: _Unary
cos: _Unary
divide: _Binary
equal: _Binary
erf: _Unary
exp2: _Unary
exp: _Unary
expm1: _Unary
floor: _Unary
floor_divide: _Binary
greater: _Binary
greater_equal: _Binary
isfinite: _Unary
isinf: _Unary
isnan: _Unary
less: _Binary
less_equal: _Binary
log1p: _Unary
log2: _Unary
log: _Unary
logical_and: _Binary
logical_not: _Unary
logical_or: _Binary
logical_xor: _Binary
maximum: _Binary
minimum: _Binary
multiply: _Binary
negative: _Unary
not_equal: _Binary
power: _Binary
reciprocal: _Unary
relu: _Unary
remainder: _Binary
round: _Unary
rsqrt: _Unary
sigmoid: _Unary
sign: _Unary
silu: _Unary
sin: _Unary
softplus: _Unary
sqrt: _Unary
squared_relu: _Unary
subtract: _Binary
swiglu: _Gated
tanh: _Unary
trunc: _Unary

@overload
def gelu(
    x: Tensor, /, approximate: str = "none", *, out: Tensor | None = None, device: _DeviceLike | None = None
) -> Tensor: ...
@overload
def gelu(x: _Host, /, approximate: str = "none", *, out: Tensor, device: _DeviceLike | None = None) -> Tensor: ...
@overload
def gelu(
    x: _Host, /, approximate: str = "none", *, out: NDArray[Any] | None = None, device: _DeviceLike | None = None
) -> NDArray[Any]: ...
@overload
def clip(
    x: Tensor,
    /,
    min: _Operand | None = None,
    max: _Operand | None = None,
    *,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def clip(
    x: _Host,
    /,
    min: _Host | None = None,
    max: _Host | None = None,
    *,
    out: Tensor,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def clip(
    x: _Host,
    /,
    min: _Host | None = None,
    max: _Host | None = None,
    *,
    out: NDArray[Any] | None = None,
    device: _DeviceLike | None = None,
) -> NDArray[Any]: ...
@overload
def where(
    condition: Tensor, x1: _Operand, x2: _Operand, /, *, out: Tensor | None = None, device: _DeviceLike | None = None
) -> Tensor: ...
@overload
def where(
    condition: _Operand, x1: Tensor, x2: _Operand, /, *, out: Tensor | None = None, device: _DeviceLike | None = None
) -> Tensor: ...
@overload
def where(
    condition: _Operand, x1: _Operand, x2: Tensor, /, *, out: Tensor | None = None, device: _DeviceLike | None = None
) -> Tensor: ...
@overload
def where(condition: _Host, x1: _Host, x2: _Host, /, *, out: Tensor, device: _DeviceLike | None = None) -> Tensor: ...
@overload
def where(
    condition: _Host, x1: _Host, x2: _Host, /, *, out: NDArray[Any] | None = None, device: _DeviceLike | None = None
) -> NDArray[Any]: ...
@overload
def matmul_vec(
    w: Tensor | QuantTensor,
    x: Tensor | NDArray[Any],
    /,
    *,
    activation: _Activation | None = None,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def matmul_vec(
    w: NDArray[Any],
    x: Tensor,
    /,
    *,
    activation: _Activation | None = None,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def matmul_vec(
    w: NDArray[Any],
    x: NDArray[Any],
    /,
    *,
    activation: _Activation | None = None,
    out: NDArray[Any] | None = None,
    device: _DeviceLike | None = None,
) -> NDArray[Any]: ...
@overload
def matmul(
    a: Tensor | QuantTensor,
    b: Tensor | NDArray[Any],
    /,
    *,
    activation: _Activation | None = None,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def matmul(
    a: NDArray[Any],
    b: Tensor | QuantTensor,
    /,
    *,
    activation: _Activation | None = None,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def matmul(
    a: Tensor,
    b: QuantTensor,
    /,
    *,
    activation: _Activation | None = None,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def matmul(
    a: NDArray[Any],
    b: NDArray[Any],
    /,
    *,
    activation: _Activation | None = None,
    out: NDArray[Any] | None = None,
    device: _DeviceLike | None = None,
) -> NDArray[Any]: ...
@overload
def attention_scores(
    q: Tensor,
    k: Tensor | NDArray[Any],
    /,
    *,
    scale: float | None = None,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def attention_scores(
    q: NDArray[Any],
    k: Tensor,
    /,
    *,
    scale: float | None = None,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def attention_scores(
    q: NDArray[Any],
    k: NDArray[Any],
    /,
    *,
    scale: float | None = None,
    out: NDArray[Any] | None = None,
    device: _DeviceLike | None = None,
) -> NDArray[Any]: ...
@overload
def weighted_sum(
    weights: Tensor, values: Tensor | NDArray[Any], /, *, out: Tensor | None = None, device: _DeviceLike | None = None
) -> Tensor: ...
@overload
def weighted_sum(
    weights: NDArray[Any], values: Tensor, /, *, out: Tensor | None = None, device: _DeviceLike | None = None
) -> Tensor: ...
@overload
def weighted_sum(
    weights: NDArray[Any],
    values: NDArray[Any],
    /,
    *,
    out: NDArray[Any] | None = None,
    device: _DeviceLike | None = None,
) -> NDArray[Any]: ...
@overload
def attention(
    q: Tensor,
    k: Tensor | NDArray[Any],
    v: Tensor | NDArray[Any],
    /,
    *,
    mask: Tensor | NDArray[Any] | None = None,
    causal: bool = False,
    window: tuple[SupportsIndex, SupportsIndex] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    kv_length: _Lengths | None = None,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def attention(
    q: Tensor | NDArray[Any],
    k: Tensor,
    v: Tensor | NDArray[Any],
    /,
    *,
    mask: Tensor | NDArray[Any] | None = None,
    causal: bool = False,
    window: tuple[SupportsIndex, SupportsIndex] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    kv_length: _Lengths | None = None,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def attention(
    q: Tensor | NDArray[Any],
    k: Tensor | NDArray[Any],
    v: Tensor,
    /,
    *,
    mask: Tensor | NDArray[Any] | None = None,
    causal: bool = False,
    window: tuple[SupportsIndex, SupportsIndex] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    kv_length: _Lengths | None = None,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def attention(
    q: NDArray[Any],
    k: NDArray[Any],
    v: NDArray[Any],
    /,
    *,
    mask: NDArray[Any] | None = None,
    causal: bool = False,
    window: tuple[SupportsIndex, SupportsIndex] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    kv_length: _Lengths | None = None,
    out: NDArray[Any] | None = None,
    device: _DeviceLike | None = None,
) -> NDArray[Any]: ...

class _Reduction(Protocol):
    @overload
    def __call__(
        self,
        x: Tensor,
        /,
        axis: _Axes = None,
        keepdims: bool = False,
        *,
        out: Tensor | None = None,
        device: _DeviceLike | None = None,
    ) -> Tensor: ...
    @overload
    def __call__(
        self,
        x: _Host,
        /,
        axis: _Axes = None,
        keepdims: bool = False,
        *,
        out: Tensor,
        device: _DeviceLike | None = None,
    ) -> Tensor: ...
    @overload
    def __call__(
        self,
        x: _Host,
        /,
        axis: _Axes = None,
        keepdims: bool = False,
        *,
        out: NDArray[Any] | None = None,
        device: _DeviceLike | None = None,
    ) -> NDArray[Any]: ...

class _Spread(Protocol):
    @overload
    def __call__(
        self,
        x: Tensor,
        /,
        axis: _Axes = None,
        *,
        correction: float = 0.0,
        keepdims: bool = False,
        out: Tensor | None = None,
        device: _DeviceLike | None = None,
    ) -> Tensor: ...
    @overload
    def __call__(
        self,
        x: _Host,
        /,
        axis: _Axes = None,
        *,
        correction: float = 0.0,
        keepdims: bool = False,
        out: Tensor,
        device: _DeviceLike | None = None,
    ) -> Tensor: ...
    @overload
    def __call__(
        self,
        x: _Host,
        /,
        axis: _Axes = None,
        *,
        correction: float = 0.0,
        keepdims: bool = False,
        out: NDArray[Any] | None = None,
        device: _DeviceLike | None = None,
    ) -> NDArray[Any]: ...

class _Place(Protocol):
    @overload
    def __call__(
        self,
        x: Tensor,
        /,
        axis: SupportsIndex | None = None,
        keepdims: bool = False,
        *,
        out: Tensor | None = None,
        device: _DeviceLike | None = None,
    ) -> Tensor: ...
    @overload
    def __call__(
        self,
        x: _Host,
        /,
        axis: SupportsIndex | None = None,
        keepdims: bool = False,
        *,
        out: Tensor,
        device: _DeviceLike | None = None,
    ) -> Tensor: ...
    @overload
    def __call__(
        self,
        x: _Host,
        /,
        axis: SupportsIndex | None = None,
        keepdims: bool = False,
        *,
        out: NDArray[Any] | None = None,
        device: _DeviceLike | None = None,
    ) -> NDArray[Any]: ...

all: _Reduction
any: _Reduction
argmax: _Place
argmin: _Place
max: _Reduction
mean: _Reduction
min: _Reduction
prod: _Reduction
std: _Spread
sum: _Reduction
var: _Spread

class _Softmax(Protocol):
    @overload
    def __call__(
        self,
        x: Tensor,
        /,
        axis: SupportsIndex = -1,
        *,
        out: Tensor | None = None,
        device: _DeviceLike | None = None,
    ) -> Tensor: ...
    @overload
    def __call__(
        self,
        x: _Host,
        /,
        axis: SupportsIndex = -1,
        *,
        out: Tensor,
        device: _DeviceLike | None = None,
    ) -> Tensor: ...
    @overload
    def __call__(
        self,
        x: _Host,
        /,
        axis: SupportsIndex = -1,
        *,
        out: NDArray[Any] | None = None,
        device: _DeviceLike | None = None,
    ) -> NDArray[Any]: ...

log_softmax: _Softmax
softmax: _Softmax

@overload
def group_norm(
    x: Tensor,
    /,
    groups: SupportsIndex,
    weight: _Operand | None = None,
    bias: _Operand | None = None,
    *,
    eps: float = 1e-5,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def group_norm(
    x: _Host,
    /,
    groups: SupportsIndex,
    weight: _Host | None = None,
    bias: _Host | None = None,
    *,
    eps: float = 1e-5,
    out: Tensor,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def group_norm(
    x: _Host,
    /,
    groups: SupportsIndex,
    weight: _Host | None = None,
    bias: _Host | None = None,
    *,
    eps: float = 1e-5,
    out: NDArray[Any] | None = None,
    device: _DeviceLike | None = None,
) -> NDArray[Any]: ...
@overload
def l2_norm(
    x: Tensor, /, *, eps: float = 1e-12, out: Tensor | None = None, device: _DeviceLike | None = None
) -> Tensor: ...
@overload
def l2_norm(x: _Host, /, *, eps: float = 1e-12, out: Tensor, device: _DeviceLike | None = None) -> Tensor: ...
@overload
def l2_norm(
    x: _Host, /, *, eps: float = 1e-12, out: NDArray[Any] | None = None, device: _DeviceLike | None = None
) -> NDArray[Any]: ...
@overload
def layer_norm(
    x: Tensor,
    /,
    weight: _Operand | None = None,
    bias: _Operand | None = None,
    *,
    eps: float = 1e-5,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def layer_norm(
    x: _Host,
    /,
    weight: _Host | None = None,
    bias: _Host | None = None,
    *,
    eps: float = 1e-5,
    out: Tensor,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def layer_norm(
    x: _Host,
    /,
    weight: _Host | None = None,
    bias: _Host | None = None,
    *,
    eps: float = 1e-5,
    out: NDArray[Any] | None = None,
    device: _DeviceLike | None = None,
) -> NDArray[Any]: ...
@overload
def rms_norm(
    x: Tensor,
    /,
    weight: _Operand | None = None,
    *,
    bias: _Operand | None = None,
    eps: float = 1e-5,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def rms_norm(
    x: _Host,
    /,
    weight: _Host | None = None,
    *,
    bias: _Host | None = None,
    eps: float = 1e-5,
    out: Tensor,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def rms_norm(
    x: _Host,
    /,
    weight: _Host | None = None,
    *,
    bias: _Host | None = None,
    eps: float = 1e-5,
    out: NDArray[Any] | None = None,
    device: _DeviceLike | None = None,
) -> NDArray[Any]: ...
@overload
def rope(
    x: Tensor,
    cos: Tensor | NDArray[Any],
    sin: Tensor | NDArray[Any],
    /,
    *,
    interleaved: bool = False,
    rotary_dim: SupportsIndex | None = None,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def rope(
    x: NDArray[Any],
    cos: Tensor,
    sin: Tensor,
    /,
    *,
    interleaved: bool = False,
    rotary_dim: SupportsIndex | None = None,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def rope(
    x: NDArray[Any],
    cos: NDArray[Any],
    sin: NDArray[Any],
    /,
    *,
    interleaved: bool = False,
    rotary_dim: SupportsIndex | None = None,
    out: Tensor,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def rope(
    x: NDArray[Any],
    cos: NDArray[Any],
    sin: NDArray[Any],
    /,
    *,
    interleaved: bool = False,
    rotary_dim: SupportsIndex | None = None,
    out: NDArray[Any] | None = None,
    device: _DeviceLike | None = None,
) -> NDArray[Any]: ...
@overload
def rope_tables(
    positions: Tensor,
    dim: int,
    /,
    *,
    theta: float = 10000.0,
    out: tuple[Tensor, Tensor] | None = None,
    device: _DeviceLike | None = None,
) -> tuple[Tensor, Tensor]: ...
@overload
def rope_tables(
    positions: ArrayLike,
    dim: int,
    /,
    *,
    theta: float = 10000.0,
    out: tuple[Tensor, Tensor],
    device: _DeviceLike | None = None,
) -> tuple[Tensor, Tensor]: ...
@overload
def rope_tables(
    positions: ArrayLike,
    dim: int,
    /,
    *,
    theta: float = 10000.0,
    out: tuple[NDArray[Any], NDArray[Any]] | None = None,
    device: _DeviceLike | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]: ...
def quantize(array: _Operand, format: str, /, *, device: _DeviceLike | None = None) -> QuantTensor: ...
def from_blocks(
    blocks: Tensor | NDArray[Any] | bytes | bytearray | memoryview | mmap,
    format: str,
    shape: _Shape,
    /,
    *,
    device: _DeviceLike | None = None,
) -> QuantTensor: ...
@overload
def take(
    x: Tensor,
    indices: ArrayLike | Tensor,
    /,
    axis: int | None = None,
    *,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def take(
    x: ArrayLike,
    indices: Tensor,
    /,
    axis: int | None = None,
    *,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def take(
    x: ArrayLike,
    indices: ArrayLike,
    /,
    axis: int | None = None,
    *,
    out: Tensor,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def take(
    x: ArrayLike,
    indices: ArrayLike,
    /,
    axis: int | None = None,
    *,
    out: NDArray[Any] | None = None,
    device: _DeviceLike | None = None,
) -> NDArray[Any]: ...
@overload
def embedding(
    table: Tensor | QuantTensor,
    ids: ArrayLike | Tensor,
    /,
    *,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def embedding(
    table: ArrayLike, ids: Tensor, /, *, out: Tensor | None = None, device: _DeviceLike | None = None
) -> Tensor: ...
@overload
def embedding(table: ArrayLike, ids: ArrayLike, /, *, out: Tensor, device: _DeviceLike | None = None) -> Tensor: ...
@overload
def embedding(
    table: ArrayLike, ids: ArrayLike, /, *, out: NDArray[Any] | None = None, device: _DeviceLike | None = None
) -> NDArray[Any]: ...
@overload
def concat(
    tensors: Sequence[Tensor],
    /,
    axis: int | None = 0,
    *,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def concat(
    tensors: Sequence[NDArray[Any]],
    /,
    axis: int | None = 0,
    *,
    out: Tensor,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def concat(
    tensors: Sequence[NDArray[Any]],
    /,
    axis: int | None = 0,
    *,
    out: NDArray[Any] | None = None,
    device: _DeviceLike | None = None,
) -> NDArray[Any]: ...
@overload
def concat(
    tensors: Sequence[Tensor | NDArray[Any]],
    /,
    axis: int | None = 0,
    *,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Any: ...
@overload
def stack(
    tensors: Sequence[Tensor],
    /,
    axis: int = 0,
    *,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def stack(
    tensors: Sequence[_Host],
    /,
    axis: int = 0,
    *,
    out: Tensor,
    device: _DeviceLike | None = None,
) -> Tensor: ...
@overload
def stack(
    tensors: Sequence[_Host],
    /,
    axis: int = 0,
    *,
    out: NDArray[Any] | None = None,
    device: _DeviceLike | None = None,
) -> NDArray[Any]: ...
@overload
def stack(
    tensors: Sequence[Tensor | _Host],
    /,
    axis: int = 0,
    *,
    out: Tensor | None = None,
    device: _DeviceLike | None = None,
) -> Any: ...
@overload
def transpose(x: Tensor, /, axes: _Integers | None = None) -> Tensor: ...
@overload
def transpose(x: ArrayLike, /, axes: _Integers | None = None) -> NDArray[Any]: ...
@overload
def permute_dims(x: Tensor, /, axes: _Integers) -> Tensor: ...
@overload
def permute_dims(x: ArrayLike, /, axes: _Integers) -> NDArray[Any]: ...
@overload
def matrix_transpose(x: Tensor, /) -> Tensor: ...
@overload
def matrix_transpose(x: ArrayLike, /) -> NDArray[Any]: ...
@overload
def reshape(x: Tensor, /, shape: _Shape) -> Tensor: ...
@overload
def reshape(x: ArrayLike, /, shape: _Shape) -> NDArray[Any]: ...
@overload
def broadcast_to(x: Tensor, /, shape: _Shape) -> Tensor: ...
@overload
def broadcast_to(x: ArrayLike, /, shape: _Shape) -> NDArray[Any]: ...
@overload
def expand_dims(x: Tensor, /, axis: int = 0) -> Tensor: ...
@overload
def expand_dims(x: ArrayLike, /, axis: int = 0) -> NDArray[Any]: ...
@overload
def squeeze(x: Tensor, /, axis: _Shape | None = None) -> Tensor: ...
@overload
def squeeze(x: ArrayLike, /, axis: _Shape | None = None) -> NDArray[Any]: ...
@overload
def astype(x: Tensor, dtype: DTypeLike, /, *, copy: bool = True) -> Tensor: ...
@overload
def astype(x: ArrayLike, dtype: DTypeLike, /, *, copy: bool = True) -> NDArray[Any]: ...
@overload
def copy(x: Tensor, /) -> Tensor: ...
@overload
def copy(x: ArrayLike, /) -> NDArray[Any]: ...
@overload
def cumsum(
    x: Tensor, /, axis: int | None = None, *, out: Tensor | None = None, device: _DeviceLike | None = None
) -> Tensor: ...
@overload
def cumsum(x: ArrayLike, /, axis: int | None = None, *, out: Tensor, device: _DeviceLike | None = None) -> Tensor: ...
@overload
def cumsum(
    x: ArrayLike, /, axis: int | None = None, *, out: NDArray[Any] | None = None, device: _DeviceLike | None = None
) -> NDArray[Any]: ...

# Devices

@final
class Binding:
    @property
    def name(self) -> str: ...
    @property
    def group(self) -> int | None: ...
    @property
    def binding(self) -> int | None: ...
    @property
    def access(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...

@final
class Kernel:
    def __new__(
        cls,
        source: str,
        /,
        *,
        entry_point: str | None = None,
        constants: Mapping[str, _Constant] | None = None,
        name: str | None = None,
        trusted: bool = False,
    ) -> Self: ...
    # What a kernel returns depends on what it writes and on what it is given.
    def __call__(
        self,
        *,
        threads: _Extents | None = None,
        workgroups: _Extents | None = None,
        out: Mapping[str, Any] | None = None,
        device: _DeviceLike | None = None,
        inplace: bool = False,
        bindings: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> Any: ...
    @property
    def bindings(self) -> dict[str, Binding]: ...
    @property
    def constants(self) -> dict[str, bool | int | float | str | None]: ...
    @property
    def entry_points(self) -> tuple[str, ...]: ...
    @property
    def entry_point(self) -> str: ...
    @property
    def workgroup_size(self) -> tuple[int, int, int] | None: ...
    @property
    def workgroup_memory(self) -> int | None: ...
    @property
    def source(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def trusted(self) -> bool: ...
    @property
    def spirv(self) -> bytes: ...
    def specialize(self, **constants: _Constant) -> Kernel: ...
    def translate(self, language: str, /) -> str: ...
    def _repr_html_(self) -> str: ...

@final
class ElementwiseKernel:
    def __new__(cls, inputs: str, outputs: str, body: str, *, name: str | None = None, preamble: str = "") -> Self: ...
    # A Tensor if one is given, or else an array; of several outputs a named tuple.
    def __call__(
        self,
        *arguments: _Operand,
        out: Tensor | NDArray[Any] | tuple[Tensor | NDArray[Any] | None, ...] | None = None,
        device: _DeviceLike | None = None,
        **inputs: _Operand,
    ) -> Any: ...
    def __getnewargs_ex__(self) -> tuple[tuple[str, str, str], dict[str, str | None]]: ...
    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> str: ...
    @property
    def outputs(self) -> str: ...
    @property
    def body(self) -> str: ...
    @property
    def preamble(self) -> str: ...

@final
class ReductionKernel:
    def __new__(
        cls,
        map: str,
        reduce: str,
        identity: str,
        finish: str = "a",
        *,
        inputs: str = "x",
        name: str | None = None,
        preamble: str = "",
    ) -> Self: ...
    # A Tensor if one is given, or else an array. Behind the inputs `axis` and `keepdims` may stand by position.
    def __call__(
        self,
        *arguments: Any,
        axis: _Axes = None,
        keepdims: bool = False,
        out: Tensor | NDArray[Any] | None = None,
        device: _DeviceLike | None = None,
        **inputs: _Operand,
    ) -> Any: ...
    def __getnewargs_ex__(self) -> tuple[tuple[str, str, str, str], dict[str, str | None]]: ...
    @property
    def name(self) -> str: ...
    @property
    def inputs(self) -> str: ...
    @property
    def map(self) -> str: ...
    @property
    def reduce(self) -> str: ...
    @property
    def identity(self) -> str: ...
    @property
    def finish(self) -> str: ...
    @property
    def preamble(self) -> str: ...

shader_library: Mapping[str, str]

def devices() -> tuple[Device, ...]: ...
def default_device() -> Device: ...
def get_device(name: _DeviceLike) -> Device: ...
def is_available(name: _DeviceLike) -> bool: ...
def explain(operation: str | None = None, /, *shapes: _Shape) -> str: ...
def synchronize(device: _DeviceLike | None = None) -> None: ...

# Private: for the Python side of the package

_current_device: ContextVar[Device | None]

@final
class _Session:
    def end(
        self,
    ) -> tuple[list[tuple[str, str, float, float, int | None, int | None]], list[tuple[str, str]]]: ...

def _resolve(device: Device | str, argument: str, /) -> Device: ...
def _enable_context() -> None: ...
def _set_float64_policy(policy: str) -> None: ...
def _set_kernel_timeout(seconds: float | None, /) -> None: ...
def _kernel_timeout() -> float | None: ...
def _set_int8_activations(allowed: bool) -> None: ...
def _int8_activations() -> bool: ...
def _profile(device: Device | None, /) -> _Session: ...
def _shutdown() -> None: ...
def _entry_points(source: str, constants: Mapping[str, Any], name: str) -> list[str]: ...
def _read_header(
    name: str, file: NDArray[np.uint8]
) -> tuple[str, int | None, dict[str, Any], list[tuple[str, tuple[int, ...], str, str, int, int]]]: ...
def _header_strings(file: NDArray[np.uint8], start: int, end: int, count: int) -> list[str | bytes]: ...
def _header_arrays(file: NDArray[np.uint8], start: int, end: int, count: int) -> list[tuple[str, int, int, int]]: ...
def _read_index(name: str, file: NDArray[np.uint8]) -> list[tuple[str, str]]: ...
def _make_kernel(source: str, keywords: dict[str, Any]) -> Kernel: ...
