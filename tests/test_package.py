"""The package as its users meet it: names, docstrings, stubs, the command line, logging."""

import ast
import doctest
import importlib.metadata
import inspect
import types
from pathlib import Path

import numpy as np
import pytest

import gpukern as gk
from oracles import OPERATIONS
from processes import run_python, run_script

HOME = Path(gk.__file__).parent
PUBLIC = [name for name in gk.__all__ if not name.startswith("__")]
FUNCTIONS = [name for name in PUBLIC if callable(getattr(gk, name)) and not isinstance(getattr(gk, name), type)]
CLASSES = [name for name in PUBLIC if isinstance(getattr(gk, name), type)]
NAMES = {
    *("asarray", "empty", "zeros", "ones", "full", "arange"),
    *OPERATIONS,
    *("transpose", "permute_dims", "matrix_transpose", "reshape", "broadcast_to", "expand_dims", "squeeze"),
    *("astype", "copy", "rope_tables"),
    *("devices", "default_device", "get_device", "use_device", "is_available", "explain", "synchronize"),
    *("Kernel", "Binding", "shader_library", "ElementwiseKernel", "ReductionKernel"),
    *("QuantTensor", "quantize", "from_blocks", "load", "ModelFile", "TensorInfo"),
    *("profile", "KernelTime", "config", "Tensor", "Device", "Memory"),
    *("Error", "ShapeError", "DTypeError", "DeviceError", "DeviceNotFoundError", "DeviceLostError"),
    *("OutOfMemoryError", "KernelError", "BoundsError", "ArgumentError", "FileError", "PrecisionWarning"),
}


# Names


def test_every_name_is_there():
    assert set(PUBLIC) == NAMES
    assert len(gk.__all__) == len(set(gk.__all__))


def test_all_is_all():
    """Only `open` is missing from `__all__`, since it would hide Python's, and a star import gives just that."""
    public = {name for name, thing in vars(gk).items() if name[0] != "_" and not isinstance(thing, types.ModuleType)}
    assert public - {"open"} == set(PUBLIC)
    namespace = {}
    exec("from gpukern import *", namespace)
    assert set(gk.__all__) <= namespace.keys()


def test_the_version_is_that_of_the_package():
    assert gk.__version__ == importlib.metadata.version("gpukern")


@pytest.mark.parametrize("name", CLASSES)
def test_classes_live_in_the_package(name):
    assert getattr(gk, name).__module__ == "gpukern"
    assert getattr(gk, name).__name__ == name


# Docstrings


def run_examples(name, docstring):
    """Runs the examples of a docstring; returns how many there were."""
    names = {"gk": gk, "gpukern": gk, "np": np}
    test = doctest.DocTestParser().get_doctest(docstring, names, name, None, 0)
    failures = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(test, out=failures.append)
    assert not failures, "".join(failures)
    return len(test.examples)


@pytest.mark.parametrize("name", [*FUNCTIONS, "open", "use_device", "profile"])
def test_every_function_has_an_example_that_runs(name):
    docstring = inspect.getdoc(getattr(gk, name))
    assert docstring, f"{name} has no docstring"
    assert run_examples(name, docstring) > 0, f"{name} has no example"


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_and_member_has_a_docstring(name):
    members = {name: getattr(gk, name)}
    for key, member in vars(getattr(gk, name)).items():
        if key[0] != "_" and not inspect.ismemberdescriptor(member):  # an attribute of Python has no docstring
            members[f"{name}.{key}"] = member
    for path, member in members.items():
        docstring = inspect.getdoc(member)
        assert docstring, f"{path} has no docstring"
        run_examples(path, docstring)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_a_signature(name):
    assert inspect.signature(getattr(gk, name)) is not None


REQUIRED = inspect.Parameter.empty
_KEEPDIMS = {"axis": None, "keepdims": False}
_SPREAD = {"axis": None, "|": None, "correction": 0, "keepdims": False}
# What operations take beside operands that must be given; a bar stands before what must be named.
OPTIONS = {
    "gelu": {"approximate": "none"},
    "clip": {"min": None, "max": None},
    **dict.fromkeys(("sum", "prod", "max", "min", "any", "all", "mean", "argmax", "argmin"), _KEEPDIMS),
    "var": _SPREAD,
    "std": _SPREAD,
    "cumsum": {"axis": None},
    "softmax": {"axis": -1},
    "log_softmax": {"axis": -1},
    "rms_norm": {"weight": None, "|": None, "bias": None, "eps": 1e-5},
    "layer_norm": {"weight": None, "bias": None, "|": None, "eps": 1e-5},
    "group_norm": {"groups": REQUIRED, "weight": None, "bias": None, "|": None, "eps": 1e-5},
    "l2_norm": {"|": None, "eps": 1e-12},
    "rope": {"|": None, "interleaved": False, "rotary_dim": None},
    "attention": {
        "|": None,
        "mask": None,
        "causal": False,
        **dict.fromkeys(("window", "scale", "softcap", "kv_length")),
    },
    "attention_scores": {"|": None, "scale": None},
    "concat": {"axis": 0},
    "stack": {"axis": 0},
    "take": {"axis": None},
    "matmul": {"|": None, "activation": None},
    "matmul_vec": {"|": None, "activation": None},
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_signatures(name):
    """Operands by position, options by position or name, and `out` and `device` at the end by name alone."""
    parameters = list(inspect.signature(getattr(gk, name)).parameters.values())
    options = OPTIONS.get(name, {}) | {"out": None, "device": None}
    named = list(options)[list(options).index("|") :] if "|" in options else []
    given = [parameter for parameter in parameters if parameter.name not in options]
    assert given, f"{name} takes no operand"
    for parameter in given:
        assert (parameter.kind, parameter.default) == (parameter.POSITIONAL_ONLY, REQUIRED), str(parameter)
    assert [parameter.name for parameter in parameters[len(given) :]] == [option for option in options if option != "|"]
    for parameter in parameters[len(given) :]:
        assert parameter.default == options[parameter.name], str(parameter)
        alone = parameter.name in ("out", "device", *named)
        assert (parameter.kind == parameter.KEYWORD_ONLY) == alone, str(parameter)


# Types


def test_the_package_is_typed():
    """Every public name is declared with its types; stubtest compares them with the extension."""
    assert (HOME / "py.typed").exists()
    assert (HOME / "_native.pyi").exists()
    declared = set()
    for path in HOME.glob("*.py*"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                declared.add(node.name)
            elif isinstance(node, ast.AnnAssign):
                declared.add(node.target.id)
    assert set(PUBLIC) <= declared


# The command line


def test_info_lists_every_device():
    printed = run_python("-m", "gpukern", "info")
    for device in gk.devices():
        assert device.id in printed
        assert device.name in printed


def test_demo():
    assert run_python("-m", "gpukern", "demo").strip()


def test_selftest_tries_every_operation_on_every_device():
    printed = run_python("-m", "gpukern", "selftest")
    for word in (*OPERATIONS, *(device.id for device in gk.devices())):
        assert word in printed


# Logging


LOGGED = """
    import logging
    records = []
    class Keep(logging.Handler):
        def emit(self, record):
            records.append(record)
    logger = logging.getLogger("gpukern")
    logger.addHandler(Keep())
    logger.setLevel({level})
    logger.propagate = False
    for device in gk.devices():
        assert (gk.ones(3, device=device) + 1).tolist() == [2, 2, 2]
    assert all(record.name.partition(".")[0] == "gpukern" for record in records)
    print(len(records))
"""


def test_messages_go_to_logging():
    """All of them to the logger `gpukern`, and nothing to stderr, which `run_script` looks at."""
    assert int(run_script(LOGGED.format(level="logging.DEBUG"))) > 0


def test_a_quiet_process_logs_no_warning():
    assert run_script(LOGGED.format(level="logging.WARNING")) == "0\n"
    run_script("import logging; logging.getLogger('gpukern').setLevel(logging.DEBUG); gk.devices()")
