"""PivotRL: find the turns of recorded agent runs that are worth training on, and train on those alone.

The stages are functions here, which take and return polars frames or the paths of files; see docs/python.md. Nothing
is loaded until one of them is used.
"""

import os
from typing import Any

os.environ.setdefault("MIMALLOC_PURGE_DELAY", "0")  # before Arrow is loaded: it gives back at once what it freed

__all__ = [
    "PivotRLError",
    "__version__",
    "agreement",
    "audit",
    "compare",
    "desk",
    "evaluate",
    "export",
    "extract",
    "filter",
    "import_eval",
    "left_out",
    "lineage",
    "merge",
    "profile",
    "read",
    "score",
    "summary",
    "train",
    "write",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from pivotrl_cli.storage.provenance import package_version

        return package_version()
    if name == "PivotRLError":
        from pivotrl_cli.errors import PivotRLError

        return PivotRLError
    if name in __all__:
        from pivotrl_cli.interface import api

        return getattr(api, name)
    raise AttributeError(f"module 'pivotrl_cli' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
