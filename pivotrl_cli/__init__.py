"""PivotRL: find the turns of recorded agent runs that are worth training on, and train on those alone.

`import pivotrl_cli as pv` has the stages as functions, the config classes and `PivotRLError`; see docs/python.md.
Importing it loads nothing else: a name is loaded when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pivotrl_cli.configs import *  # noqa: F403
    from pivotrl_cli.errors import PivotRLError as PivotRLError
    from pivotrl_cli.interface.api import *  # noqa: F403

    __version__: str


def __getattr__(name: str) -> Any:
    """A config class, an error, the version, or a function of the Python API."""
    from importlib import import_module

    if name == "__version__":
        from pivotrl_cli.storage.provenance import package_version

        return package_version()
    if name == "__all__":
        return __dir__()
    home = "errors" if name == "PivotRLError" else "configs" if name.endswith("Config") else "interface.api"
    module = import_module(f"pivotrl_cli.{home}") if not name.startswith("_") else None
    if module is None or name not in module.__all__:
        raise AttributeError(f"module 'pivotrl_cli' has no attribute '{name}'")
    return getattr(module, name)


def __dir__() -> list[str]:
    from pivotrl_cli import configs
    from pivotrl_cli.interface import api

    return sorted(["PivotRLError", "__version__", *configs.__all__, *api.__all__])
