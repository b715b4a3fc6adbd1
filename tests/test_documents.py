"""The Python that README.md and docs/ show runs as it stands there."""

import re
from pathlib import Path

import pytest

import gpukern as gk

ROOT = Path(__file__).parent.parent
KERNELS = ROOT / "docs" / "kernels.md"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def run_blocks(document):
    """One after another, each with the names of those before it."""
    names = {}
    blocks = re.findall(r"^```python\n(.*?)^```", document.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{document.name}, block {number}", "exec"), names)
    return names


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if path != KERNELS], ids=lambda path: path.name)
def test_python_blocks_run(document):
    run_blocks(document)


def test_the_guide_to_kernels_runs(any_device):
    """On every device."""
    with gk.use_device(any_device):
        run_blocks(KERNELS)
