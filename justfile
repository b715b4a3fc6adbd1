# The checks are the steps of .ci/run; what is here beside them is for working on the project.

# List the recipes.
default:
    @just --list

# Everything that is checked before a change is accepted.
ci:
    .ci/run

# The Python tests, after building and installing what is here.
test:
    .ci/run test

# The engine's tests, without Python.
rust:
    .ci/run rust

# Every linter.
lint:
    .ci/run rustfmt clippy deny ruff types

# Build the extension into the active virtual environment, optimised.
develop:
    maturin develop --release --extras test

# Put the formatting right.
format:
    cargo fmt
    ruff check --fix
    ruff format

# Time the project beside its peers: `just bench --quick`.
bench *options:
    python benches/run.py {{ options }}
