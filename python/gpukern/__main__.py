"""The command line: ``python -m gpukern info | demo | selftest | compile | inspect``."""

import argparse
import os
import platform
import sys

import numpy as np

import gpukern as gk


def info() -> int:
    """Print the devices, and why each was or was not chosen."""
    print(
        f"gpukern {gk.__version__}, NumPy {np.__version__}, Python {platform.python_version()}, {platform.platform()}\n"
    )
    chosen = gk.default_device()
    rows = [("", "id", "name", "backend", "kind", "driver", "memory")]
    rows += [
        ("*" if each == chosen else "", each.id, each.name, each.backend, each.kind, each.driver, _memory(each))
        for each in gk.devices()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"\n* the default\n\n{gk.explain().rstrip()}")
    return 0


def _memory(device: gk.Device) -> str:
    try:
        return f"{device.memory.limit / 2**30:.1f} GiB"
    except gk.Error as error:
        return f"none: {error}"


def main(arguments: list[str] | None = None) -> int:
    """Run one command, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m gpukern", description="Compute kernels for NumPy arrays on every device."
    )
    parser.add_argument("--version", action="version", version=f"gpukern {gk.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("info", help="the devices, and why each was or was not chosen")
    demo = commands.add_parser("demo", help="what the library does, in ten lines")
    selftest = commands.add_parser("selftest", help="every operation on every device, against NumPy")
    demo.add_argument("--device", help="where to run (default: the device that info marks)")
    selftest.add_argument("--device", action="append", help="test this device only; may be given again (default: all)")
    compiler = commands.add_parser("compile", help="what a WGSL kernel declares, or what is wrong with it")
    compiler.add_argument("file", metavar="FILE.wgsl")
    compiler.add_argument("--entry-point", metavar="NAME", help="the function to compile, where there are several")
    compiler.add_argument(
        "-D", dest="constants", action="append", default=[], metavar="NAME=VALUE", help="a constant's value, or a type"
    )
    compiler.add_argument("--emit", choices=("spirv", "msl", "hlsl", "glsl"), help="print it in another language")
    compiler.add_argument("-o", dest="output", metavar="FILE", help="write that to a file; SPIR-V as binary")
    inspector = commands.add_parser("inspect", help="what a model file (GGUF, safetensors) says of itself")
    inspector.add_argument("file", metavar="FILE", help="the file, the index of several, or their folder")
    inspector.add_argument("--json", action="store_true", help="print it as JSON, and arrays as a whole")
    options = parser.parse_args(arguments)

    if options.command == "info":
        return info()
    if options.command == "compile":
        from ._compile import compile_file

        return compile_file(options.file, options.entry_point, options.constants, options.emit, options.output)
    if options.command == "inspect":
        from ._inspect import inspect_file

        return inspect_file(options.file, options.json)
    if options.command == "demo":
        from ._demo import demo as run_demo

        return run_demo(options.device)
    from ._selftest import selftest as run_selftest

    return run_selftest(options.device)


def _guarded() -> int:
    """Turn the ends that a user may bring about into an exit code and at most one line."""
    try:
        code = main()
        sys.stdout.flush()
    except gk.Error as error:
        print(f"gpukern: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has gone, as `| head` does. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        print(f"gpukern: {error}", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(_guarded())
