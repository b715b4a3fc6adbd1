"""Model files, GGUF and safetensors: mapped into memory, and tensors made of what lies in them.

Nothing is read before it is asked for. On the CPU device tensors share the mapped memory; on its way to a GPU a file
goes through it in pieces, each of which is let go before the next one comes.
"""

import errno
import mmap
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, NoReturn, TypeAlias, final

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from . import _native
from ._native import Device, QuantTensor, Tensor

_Path: TypeAlias = str | os.PathLike[str]
_Bytes: TypeAlias = NDArray[np.uint8]
# An array of metadata: what its elements are, how many there are, where they begin and end in the file.
_Place: TypeAlias = tuple[str, int, int, int]

# What goes to a device at once.
_PIECE = 8 << 20
# The dtypes that tensors have as well, so that their memory can be shared.
_SHARED = ("float32", "float16", "bfloat16", "int32", "uint32", "int8", "uint8", "bool")
_DTYPES: dict[str, np.dtype[Any]] = {
    name: np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
    for name in (*_SHARED, "float64", "int64", "uint64", "int16", "uint16")
}
_INDEX = ".safetensors.index.json"
_PART = re.compile(r"(?P<stem>.*)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})(?P<suffix>\.gguf|\.safetensors)")
# What not every system has.
_DISCARD: int | None = getattr(mmap, "MADV_DONTNEED", None)
_SEQUENTIAL: int | None = getattr(mmap, "MADV_SEQUENTIAL", None)


def printable(text: object, longest: int = 300) -> str:
    """Make a text from a file fit for a terminal: of bounded length, without control characters."""
    whole = str(text)
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in whole[:longest]
    )
    return shown if len(whole) <= longest else f"{shown}..."


class TensorInfo(NamedTuple):
    """What a file says of a tensor.

    Examples
    --------
    >>> import gpukern as gk
    >>> gk.TensorInfo("output.weight", (32000, 4096), "q6_k", 107520000).dtype
    'q6_k'
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int


TensorInfo.name.__doc__ = "Its name."
TensorInfo.shape.__doc__ = "The lengths of its axes, the last of them contiguous."
TensorInfo.dtype.__doc__ = "What its elements are in the file: a dtype's name, or a format's such as ``q4_k``."
TensorInfo.nbytes.__doc__ = "Bytes of it in the file."
TensorInfo.__module__ = "gpukern"


class _File:
    """One file, mapped, and what its header says."""

    __slots__ = ("_map", "bytes", "closed", "format", "metadata", "name", "path", "tensors", "version")

    def __init__(self, path: Path, operation: str) -> None:
        self.path = path
        self.closed = False
        self.name = f"{operation}: {printable(path)}"
        self._map, self.bytes = _map(path, self.name)
        self.format, self.version, self.metadata, self.tensors = _native._read_header(self.name, self.bytes)
        self.forget(0, self.bytes.size)

    def forget(self, start: int, end: int) -> None:
        """Let go of the memory in which the system keeps these bytes for us. They are read again when needed."""
        if self._map is not None and _DISCARD is not None and start < end:
            start -= start % mmap.PAGESIZE
            self._map.madvise(_DISCARD, start, end - start)

    def read_ahead(self) -> None:
        """Tell the system that tensors are read from front to back, so that it asks the disk for more at once."""
        if self._map is not None and _SEQUENTIAL is not None:
            self._map.madvise(_SEQUENTIAL)

    def close(self) -> None:
        # The system lets go of the file with the last tensor that shares its memory.
        self.bytes = np.empty(0, np.uint8)
        self._map = None
        self.closed = True


def _map(path: Path, name: str) -> tuple[mmap.mmap | None, _Bytes]:
    # Opening a pipe would wait for somebody to write into it.
    if not stat.S_ISREG(path.stat().st_mode):
        raise _native.FileError(f"{name}: this is no regular file, which alone can be mapped; copy it into one")
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return None, np.empty(0, np.uint8)
        try:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise _native.FileError(
                f"{name}: it cannot be mapped ({error}); copy it to a disk of this machine"
            ) from None
    return mapped, np.frombuffer(mapped, np.uint8)


class _Entry(NamedTuple):
    """A tensor and the file in which it lies."""

    file: _File
    name: str
    shape: tuple[int, ...]
    dtype: str
    reading: str
    start: int
    end: int

    @property
    def info(self) -> TensorInfo:
        return TensorInfo(self.name, self.shape, self.dtype, self.end - self.start)

    @property
    def where(self) -> str:
        return f"{self.file.name}: tensor '{printable(self.name)}'"

    @property
    def bytes(self) -> _Bytes:
        return self.file.bytes[self.start : self.end]


@final
class Metadata(Mapping[str, Any]):
    """The metadata of a model, whose arrays are made when they are asked for."""

    __slots__ = ("_made", "_name", "_places")

    def __init__(self, files: Iterable[_File], name: str) -> None:
        self._name = name
        # The first of several files has what concerns the whole.
        self._places: dict[str, tuple[_File, Any]] = {}
        for file in files:
            for key, value in file.metadata.items():
                self._places.setdefault(key, (file, value))
        self._made: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        if key not in self._made:
            file, value = self.place(key)
            self._made[key] = _value(file, value)
            if is_place(value):
                file.forget(value[2], value[3])
        return self._made[key]

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        return f"<metadata: {', '.join(printable(key, 100) for key in self)}>"

    def place(self, key: str) -> tuple[_File, Any]:
        """Give the file of a value, and the value itself, or where it lies if it is an array."""
        if key not in self._places:
            raise _NoSuchNameError(f"{self._name} has no metadata {key!r}", key, self._places, ".metadata")
        return self._places[key]


class _NoSuchNameError(KeyError):
    """A name that is not there, and what it may have been meant for: that is looked for when the message is read."""

    def __init__(self, message: str, name: object, names: Iterable[str], where: str) -> None:
        super().__init__(name)
        self._about = message, names, where

    def __str__(self) -> str:
        message, names, where = self._about
        close = get_close_matches(str(self.args[0])[:300], names, n=1)
        return f"{message}; " + (f"did you mean '{printable(close[0])}'?" if close else f"{where} lists what it has")

    def __reduce__(self) -> tuple[type[KeyError], tuple[str]]:
        return KeyError, (str(self),)


def is_place(value: object) -> bool:
    """Whether a value of a header is an array that has been left where it lies."""
    return isinstance(value, tuple)


def _value(file: _File, value: Any) -> Any:
    if not is_place(value):
        return value
    element, count, start, end = value
    # A file that has been closed has no bytes.
    if end > file.bytes.size:
        _refuse_closed(file)
    if element == "string":
        made: Any = _native._header_strings(file.bytes, start, end, count)
    elif element == "array":
        made = [_value(file, inner) for inner in _native._header_arrays(file.bytes, start, end, count)]
    else:
        made = file.bytes[start:end].view(element).copy()
        made.flags.writeable = False
    return made


def first_elements(file: _File, place: _Place, most: int) -> list[Any]:
    """Make the first elements of an array; those that are arrays themselves are left where they lie."""
    element, count, start, end = place
    if element == "string":
        return list(_native._header_strings(file.bytes, start, end, min(count, most)))
    if element == "array":
        return list(_native._header_arrays(file.bytes, start, end, min(count, most)))
    numbers: list[Any] = file.bytes[start:end].view(element)[:most].tolist()
    return numbers


def _refuse_closed(file: _File) -> NoReturn:
    raise _native.ArgumentError(f"{file.name} has been closed; open it again, or take what you need before")


@final
class ModelFile(Mapping[str, Tensor | QuantTensor]):
    """The tensors of a model, by their names, each of which is made when it is asked for. See `gpukern.open`."""

    __slots__ = {
        "_entries": "",
        "_files": "",
        "_keep": "",
        "_operation": "",
        "_path": "",
        "_tensors": "",
        "device": "Where the tensors are made.",
        "metadata": "What the file says of the model, by keys. Arrays are made when they are asked for, and then kept.",
    }

    device: Device
    metadata: Mapping[str, Any]

    def __init__(self, path: _Path, *, device: Device | str | None = None, keep_quantised: bool = True) -> None:
        self._begin("open", path, "cpu" if device is None else device, keep_quantised)

    @classmethod
    def _for(cls, operation: str, path: _Path, device: Device | str | None, keep_quantised: bool) -> "ModelFile":
        """Open it for another operation, which errors name."""
        model = cls.__new__(cls)
        model._begin(operation, path, device, keep_quantised)
        return model

    def _begin(self, operation: str, path: _Path, device: Device | str | None, keep_quantised: bool) -> None:
        given: object = keep_quantised
        if not isinstance(given, bool):
            raise _native.ArgumentError(f"{operation}: keep_quantised={given!r} must be True or False")
        self._keep = keep_quantised
        self._operation = operation
        self._path = _path(path, operation)
        # The device first: where it is missing, no file need be read.
        if device is None:
            self.device = _native.empty(0, "uint8").device
        else:
            self.device = _native._resolve(device, f"{operation}: device")
        self._files, self._entries = _find(self._path, operation)
        if self.device.backend != "cpu":
            for file in self._files:
                file.read_ahead()
        self._tensors: Mapping[str, TensorInfo] | None = None
        self.metadata = Metadata(self._files, f"{operation}: {printable(self._path)}")

    @property
    def format(self) -> str:
        """What kind of file it is: ``gguf`` or ``safetensors``."""
        return self._files[0].format if self._files else "safetensors"

    @property
    def version(self) -> int | None:
        """The version of the format, if it has versions."""
        return self._files[0].version if self._files else None

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """What the file says of each tensor: `TensorInfo` by names."""
        if self._tensors is None:
            self._tensors = MappingProxyType({name: entry.info for name, entry in self._entries.items()})
        return self._tensors

    def raw(self, name: str, /) -> NDArray[np.uint8]:
        """Give the bytes of a tensor as they lie in the file, without a copy and read-only.

        Examples
        --------
        >>> import gpukern as gk, numpy as np, tempfile
        >>> from safetensors.numpy import save_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_file({"steps": np.array([2**40])}, f"{folder}/model.safetensors")
        ...     with gk.open(f"{folder}/model.safetensors") as model:
        ...         print(model.raw("steps").view(np.int64))
        [1099511627776]
        """
        return self._entry(name).bytes

    def _entry(self, name: object) -> _Entry:
        entry = self._entries.get(name) if isinstance(name, str) else None
        if entry is None:
            message = f"{self._operation}: {printable(self._path)} has no tensor {name!r}"
            raise _NoSuchNameError(message, name, self._entries, ".tensors")
        if entry.end > entry.file.bytes.size:
            _refuse_closed(entry.file)
        return entry

    def __getitem__(self, name: str, /) -> Tensor | QuantTensor:
        return self._make(self._entry(name), lambda _: None)

    def __contains__(self, name: object, /) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    # Those of mappings would compare all tensors.
    def __eq__(self, other: object, /) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def close(self) -> None:
        """Let go of the file. Tensors that share its memory keep that, and can be used as before."""
        for file in self._files:
            file.close()

    def __enter__(self) -> "ModelFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        size = sum(entry.end - entry.start for entry in self._entries.values())
        closed = ", closed" * any(file.closed for file in self._files)
        return (
            f"<gpukern.ModelFile '{printable(self._path)}': {self.format}, {len(self)} tensors, "
            f"{size:,} bytes, device={self.device.id}{closed}>"
        )

    def _make(self, entry: _Entry, moved: Callable[[int], object]) -> Tensor | QuantTensor:
        """Make a tensor; `moved` is told how many bytes of the file have been dealt with, now and again."""
        _refuse_unknown(entry)
        try:
            return self._blocks(entry, moved) if entry.reading == "blocks" else self._numbers(entry, moved)
        except _native.Error as error:
            of_numbers = isinstance(error, _native.DTypeError) and entry.reading == "numbers"
            advice = f"; gpukern.open(...).raw(name).view('{entry.dtype}') is what the file has" if of_numbers else ""
            raise type(error)(f"{entry.where}: {error}{advice}") from None

    def _numbers(self, entry: _Entry, moved: Callable[[int], object]) -> Tensor:
        flat = entry.bytes.view(_DTYPES[entry.dtype])
        if self.device.backend == "cpu" and entry.dtype in _SHARED and flat.flags.aligned:
            moved(flat.nbytes)
            return _native.asarray(flat.reshape(entry.shape), device=self.device)
        return self._moved(entry, flat, moved).reshape(entry.shape)

    def _blocks(self, entry: _Entry, moved: Callable[[int], object]) -> Tensor | QuantTensor:
        if self.device.backend == "cpu":
            moved(entry.end - entry.start)
            tensor = _native.from_blocks(entry.bytes, entry.dtype, entry.shape, device=self.device)
        else:
            tensor = _native.from_blocks(self._moved(entry, entry.bytes, moved), entry.dtype, entry.shape)
        if self._keep:
            return tensor
        whole = tensor.dequantize()
        entry.file.forget(entry.start, entry.end)
        return whole

    def _moved(self, entry: _Entry, flat: NDArray[Any], moved: Callable[[int], object]) -> Tensor:
        """Move elements to the device, converted as `asarray` does, piece by piece."""
        step = _PIECE // flat.itemsize
        whole: Tensor | None = None
        for begin in range(0, max(flat.size, 1), step):
            part = flat[begin : begin + step]
            piece = _native.asarray(part, device=self.device)
            if part.size == flat.size:
                whole = piece
            else:
                if whole is None:
                    whole = _native.empty(flat.size, piece.dtype, device=self.device)
                target = whole[begin : begin + part.size]
                if target.nbytes % 4 == 0:
                    # GPUs move words faster than their parts.
                    target, piece = target.view("uint32"), piece.view("uint32")
                target[:] = piece
            start = entry.start + begin * flat.itemsize
            entry.file.forget(start, start + part.nbytes)
            moved(part.nbytes)
        assert whole is not None  # noqa: S101 - there is one piece at least
        return whole

    def _load(self, progress: bool | None) -> dict[str, Tensor | QuantTensor]:
        entries = list(self._entries.values())
        for entry in entries:
            _refuse_unknown(entry)
        # Disks like to be read from front to back.
        order = {file.path: number for number, file in enumerate(self._files)}
        entries.sort(key=lambda entry: (order[entry.file.path], entry.start))
        made = {}
        total = sum(entry.end - entry.start for entry in entries)
        with _progress(progress, total, printable(self._path.name, 40)) as moved:
            for entry in entries:
                made[entry.name] = self._make(entry, moved)
        return {name: made[name] for name in self._entries}


ModelFile.__module__ = "gpukern"


def _path(path: object, operation: str) -> Path:
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str) or "\0" in text:
        raise _native.ArgumentError(
            f"{operation}: path={path!r} must be the name of a file or a folder, as a str or a Path"
        )
    return Path(text)


def _refuse_unknown(entry: _Entry) -> None:
    if entry.reading == "unknown":
        raise _native.DTypeError(
            f"{entry.where} is of type {printable(entry.dtype, 100)}, which gpukern does not have; "
            "convert the file to another type, or take the bytes by gpukern.open(...).raw(name)"
        )


@contextmanager
def _progress(wanted: bool | None, total: int, name: str) -> Iterator[Callable[[int], object]]:
    """Show a bar, if one is wanted: without a word from the caller one that takes a second, and is looked at."""
    bar: Any = None
    if wanted or (wanted is None and sys.stderr is not None and sys.stderr.isatty()):
        try:
            from tqdm import tqdm
        except ImportError:
            if wanted:
                message = "load: progress=True needs tqdm, which is not installed; `pip install tqdm` does that"
                raise _native.ArgumentError(message) from None
        else:
            delay = 0.0 if wanted else 1.0
            bar = tqdm(total=total, desc=name, unit="B", unit_scale=True, unit_divisor=1024, delay=delay)
    if bar is None:
        yield lambda _: None
        return
    with bar:
        yield bar.update


def _find(path: Path, operation: str) -> tuple[list[_File], dict[str, _Entry]]:
    """Open the files of a model, and gather their tensors."""
    whole = path.is_dir()
    if whole:
        path = _in_folder(path, operation)
    if path.name.endswith(_INDEX):
        return _indexed(path, operation)
    part = _PART.fullmatch(path.name)
    # A part of safetensors is a file of its own, whereas one of GGUF says nothing of the others.
    if part is not None and (whole or part["suffix"] == ".gguf"):
        files = _parts(path, part, operation)
    else:
        files = [_File(path, operation)]
    _check_split(files)
    entries: dict[str, _Entry] = {}
    for file in files:
        for tensor in file.tensors:
            entry = _Entry(file, *tensor)
            if entry.name in entries:
                other = printable(entries[entry.name].file.path.name)
                raise _native.FileError(f"{entry.where}: {other} has one of the same name; fetch these files again")
            entries[entry.name] = entry
    return files, entries


def _parts(path: Path, part: re.Match[str], operation: str) -> list[_File]:
    """Open all parts of a model whose names count them."""
    count, suffix = int(part["count"]), part["suffix"]
    if not 1 <= int(part["number"]) <= count:
        return [_File(path, operation)]
    files = []
    for number in range(1, count + 1):
        other = path.with_name(f"{part['stem']}-{number:05}-of-{count:05}{suffix}")
        files.append(_part(other, operation))
    return files


def _part(path: Path, operation: str) -> _File:
    try:
        return _File(path, operation)
    except FileNotFoundError:
        message = "this part of the model is missing; put it beside the others"
        raise FileNotFoundError(errno.ENOENT, message, str(path)) from None


def _check_split(files: list[_File]) -> None:
    """See that parts of a GGUF file are what their names say."""
    for number, file in enumerate(files):
        count, place = file.metadata.get("split.count", len(files)), file.metadata.get("split.no", number)
        if file.format != "gguf" or (count, place) == (len(files), number) or (count in (0, 1) and len(files) == 1):
            continue
        raise _native.FileError(
            f"{file.name}: metadata 'split.no' and 'split.count' make this part {printable(place, 20)} (from 0) of "
            f"{printable(count, 20)}, but by its name it is part {number} of {len(files)}; "
            "name the parts NAME-00001-of-00003.gguf and so on"
        )
    tensors = sum(len(file.tensors) for file in files)
    told = files[0].metadata.get("split.tensors.count", tensors)
    if len(files) > 1 and told != tensors:
        raise _native.FileError(
            f"{files[0].name}: metadata 'split.tensors.count' is {printable(told, 20)}, but the {len(files)} parts "
            f"have {tensors} tensors; fetch them again, all of one model"
        )


def _indexed(path: Path, operation: str) -> tuple[list[_File], dict[str, _Entry]]:
    """Open the files that an index names, and gather the tensors that it says are in them."""
    name = f"{operation}: {printable(path)}"
    files: dict[str, _File] = {}
    tensors: dict[str, dict[str, _Entry]] = {}
    entries = {}
    for tensor, where in _native._read_index(name, _map(path, name)[1]):
        if where not in files:
            files[where] = file = _part(path.parent / where, operation)
            tensors[where] = {each[0]: _Entry(file, *each) for each in file.tensors}
        entry = tensors[where].get(tensor)
        if entry is None:
            message = f"tensor '{printable(tensor, 100)}' is to be in {printable(where, 100)}, which does not have it"
            raise _native.FileError(f"{name}: {message}; fetch the files again, all of one model")
        entries[tensor] = entry
    return list(files.values()), entries


def _in_folder(folder: Path, operation: str) -> Path:
    """Find the model in a folder: an index, or a file, or the first of the parts of one."""
    names = sorted(path.name for path in folder.iterdir())
    models = [name for name in names if name.endswith(_INDEX)]
    if not models:
        found = [name for name in names if name.endswith((".safetensors", ".gguf"))]
        models = [name for name in found if (part := _PART.fullmatch(name)) is None or int(part["number"]) == 1]
    if len(models) == 1:
        return folder / models[0]
    name = f"{operation}: {printable(folder)}"
    if not models:
        message = f"this folder has no model: no *{_INDEX}, no *.safetensors and no *.gguf; give the file's own name"
        raise _native.FileError(f"{name}: {message}")
    several = ", ".join(printable(each, 100) for each in models[:10]) + ", ..." * (len(models) > 10)
    raise _native.FileError(f"{name}: this folder has several models; name one of them: {several}")


def open(path: _Path, *, device: Device | str | None = None, keep_quantised: bool = True) -> ModelFile:  # noqa: A001
    """Open a GGUF or safetensors file, of which nothing is read but what it says of itself.

    What comes is a mapping of names to tensors, each of which is made when it is asked for, and again when it is asked
    for again. On the CPU device, which is the default here, tensors share the file's memory: they take none until they
    are used, and are read-only. The file must not be changed as long as there are any.

    Parameters
    ----------
    path
        The file; of a model in several files their index (``model.safetensors.index.json``), any part of a GGUF file
        (``NAME-00001-of-00003.gguf``), or the folder.
    device
        Where tensors are made.
    keep_quantised
        Whether quantised tensors stay in their format, as `QuantTensor`, or become float32 tensors.

    Examples
    --------
    >>> import gpukern as gk, numpy as np, tempfile
    >>> from safetensors.numpy import save_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file({"weight": np.ones((2, 3), np.float32)}, f"{folder}/model.safetensors", {"format": "np"})
    ...     model = gk.open(f"{folder}/model.safetensors")
    >>> model.metadata["format"], model.tensors["weight"].shape
    ('np', (2, 3))
    >>> model["weight"].tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    return ModelFile(path, device=device, keep_quantised=keep_quantised)


def load(
    path: _Path, *, device: Device | str | None = None, keep_quantised: bool = True, progress: bool | None = None
) -> dict[str, Tensor | QuantTensor]:
    """Load all tensors of a GGUF or safetensors file to a device.

    On their way to a GPU they take little memory of the host, however large they are. On the CPU device they share the
    file's memory, as those of `open` do.

    float64 and the integers that devices do not share are converted as by `asarray`.

    Parameters
    ----------
    path
        The file, or a model in several files, as for `open`.
    device
        Where to; the default device if it is left out.
    keep_quantised
        Whether quantised tensors stay in their format, as `QuantTensor`, or become float32 tensors.
    progress
        Whether to show a bar, which needs tqdm. None for one that appears after a second, in a terminal.

    Examples
    --------
    >>> import gpukern as gk, numpy as np, tempfile
    >>> from safetensors.numpy import save_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file({"weight": np.ones((2, 3), np.float32)}, f"{folder}/model.safetensors")
    ...     weights = gk.load(f"{folder}/model.safetensors", device="cpu")
    >>> weights["weight"].shape
    (2, 3)
    """
    with ModelFile._for("load", path, device, keep_quantised) as model:
        return model._load(progress)
