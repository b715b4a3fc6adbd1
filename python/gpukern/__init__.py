"""NumPy arrays computed on whatever GPU the machine has, and on the CPU where it has none.

>>> import numpy as np, gpukern as gk
>>> gk.matmul_vec(np.float32([[1, 2, 3], [4, 5, 6]]), np.float32([1, 2, 3]))
array([14., 32.], dtype=float32)
"""

import atexit as _atexit

from . import _native
from ._config import config as config
from ._context import use_device as use_device
from ._files import ModelFile as ModelFile
from ._files import TensorInfo as TensorInfo
from ._files import load as load
from ._files import open as open  # noqa: A004 - which no star import brings, since Python has one too
from ._native import *  # noqa: F403
from ._native import __version__ as __version__
from ._profile import KernelTime as KernelTime
from ._profile import profile as profile

# The extension's names are not repeated here, so that a new operation is named there and in its stub alone. Type
# checkers read the stub, and see no `__all__`: they would take a computed one for an empty one.
globals()["__all__"] = sorted(name for name in globals() if not name.startswith("_") and name != "open")

# Pipelines are kept on disk, and devices let go while their drivers are still there.
_atexit.register(_native._shutdown)
