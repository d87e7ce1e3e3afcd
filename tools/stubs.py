"""Write `pivotrl_cli/__init__.pyi`: what type checkers and editors see of the Python API; `--check` only compares."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pivotrl_cli.interface import api

STUB = Path(api.__file__).parents[1] / "__init__.pyi"
HEADER = '''\
"""The Python API, see docs/python.md. Made by tools/stubs.py from the configs: `make fix` writes it anew."""
# fmt: off

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import polars as pl

from pivotrl_cli.errors import PivotRLError as PivotRLError

__version__: str
'''


def stub() -> str:
    """The stub's text."""
    return "\n\n".join([HEADER, *(_function(getattr(api, name)) for name in api.__all__)]) + "\n"


def _function(function: Callable[..., Any]) -> str:
    signature = inspect.signature(function)
    first = str(inspect.getdoc(function)).splitlines()[0]
    output = signature.parameters.get("output")
    if output is None or output.default is inspect.Parameter.empty:
        return _definition(function.__name__, signature, signature.return_annotation, first)
    frame = output.replace(annotation="None")
    path = output.replace(annotation="str | Path", default=inspect.Parameter.empty)
    return "\n\n".join(
        f"@overload\n{_definition(function.__name__, _with(signature, kind), returned, first)}"
        for kind, returned in ((frame, "pl.DataFrame"), (path, "Path"))
    )


def _with(signature: inspect.Signature, output: inspect.Parameter) -> inspect.Signature:
    parameters = [output if p.name == "output" else p for p in signature.parameters.values()]
    return signature.replace(parameters=parameters)


def _definition(name: str, signature: inspect.Signature, returned: str, doc: str) -> str:
    spelled: list[str] = []
    keywords = False
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not keywords:
            spelled, keywords = [*spelled, "*"], True
        spelled.append(_parameter(parameter))
    body = textwrap.fill(
        ", ".join(part.replace(" ", "\0") for part in spelled),
        width=114,
        initial_indent="    ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    ).replace("\0", " ")
    return f'def {name}(\n{body},\n) -> {returned}:\n    """{doc}"""'


def _parameter(parameter: inspect.Parameter) -> str:
    default = "" if parameter.default is inspect.Parameter.empty else f" = {parameter.default!r}"
    annotation = parameter.annotation.replace("'", '"').replace("AnyTable", "str | Path | pl.DataFrame")
    return f"{parameter.name}: {annotation}{default}"


def main() -> None:
    """Write the stub, or with `--check` fail if it is stale."""
    current = STUB.read_text() if STUB.exists() else ""
    if "--check" in sys.argv[1:]:
        if current != stub():
            sys.exit(f"stale: {STUB.name}; run: make fix")
        return
    STUB.write_text(stub())


if __name__ == "__main__":
    main()
