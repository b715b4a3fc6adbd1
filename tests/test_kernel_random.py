"""Random kernels, each beside what it computes by a twin in Python: tests/programs.py makes them.

    python tests/programs.py SEED     prints the program of a seed that a test names

A chunk of seeds is one test. Software GPUs compile slowly, so they get fewer. The CPU device runs each program as it
likes, and with one of the numbers of lanes that it can be told.
"""

import functools

import pytest

import programs

pytestmark = pytest.mark.uncapped

CHUNK = 6
LANES = (1, 4, 8, 16)
# Of each kind: how many chunks the CPU device runs, how many GPUs do, and how programs are made.
KINDS = {
    "exact": (16, 2, {}),
    "integers": (5, 1, {"floats": None}),
    "guarded": (5, 1, {"barriers": False}),
    "long": (3, 0, {"size": 90}),
    "rounded": (8, 0, {"floats": "rounded"}),  # GPUs need not round as IEEE says.
}
CHUNKS = [
    pytest.param(kind, chunk, id=f"{kind}-{chunk}") for kind, (count, _, _) in KINDS.items() for chunk in range(count)
]


@functools.cache
def program(seed, **options):
    """A program, and what it computes, which is the same for every device."""
    made = programs.generate(seed, **options)
    return made, made.expected()


@pytest.mark.parametrize(("kind", "chunk"), CHUNKS)
def test_random_programs(device, kind, chunk):
    _, on_gpus, options = KINDS[kind]
    if device.backend != "cpu" and chunk >= on_gpus:
        pytest.skip(f"{device.id} is no CPU device: it takes fewer programs, and none that round")
    options = options | {"whole": "llvmpipe" in device.name}
    wrong = []
    for seed in range(chunk * CHUNK, (chunk + 1) * CHUNK):
        made, expected = program(seed, **options)
        for lanes in [None, LANES[seed % 4]] if device.backend == "cpu" else [None]:
            with programs.lanes_set(lanes):
                found = programs.mismatch(made, device, expected)
            if found:
                wrong.append(f"seed {seed}, lanes {lanes}: {found}")
    assert not wrong, f"{options}: " + "\n".join(wrong)
