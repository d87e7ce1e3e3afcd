"""Python signatures drawn from a config model, so that a function's keywords are the command's options."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from pivotrl_cli.configs import Config, EngineConfig, JudgeConfig, StageConfig
from pivotrl_cli.errors import ConfigError, PivotRLError

C = TypeVar("C", bound=Config)
Given = dict[str, Any]
_SHELL = {"json_summary", "dry_run"}
"""Options about what a terminal shows."""
_OUTPUT = "File to write, whose path is then returned; without it the table is, as a frame."


def keywords_of(
    config_type: type[Config], *, inputs: dict[str, str], without: Collection[str] = ()
) -> Callable[[Callable[[Given], Any]], Callable[..., Any]]:
    """Decorator: `function(given)` becomes one whose first parameters are `inputs` (name -> type) and whose keywords
    are the config's other fields; `given` has what was given.
    """

    def decorate(function: Callable[[Given], Any]) -> Callable[..., Any]:
        signature = inspect.Signature(
            [*_positional(inputs, function), *_keywords(config_type, {*inputs, *without, *_SHELL}, function)],
            return_annotation=function.__annotations__["return"],
        )

        @wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            try:
                given = signature.bind(*args, **options).arguments
            except TypeError as error:
                raise TypeError(f"{function.__name__}: {error}") from None
            with hints_shown():
                return function(dict(given))

        call.__signature__ = signature  # type: ignore[attr-defined]
        call.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\n{_described(config_type, signature)}"
        return call

    return decorate


@contextmanager
def hints_shown() -> Iterator[None]:
    """An error's hint under its message, where Python prints it."""
    try:
        yield
    except PivotRLError as error:
        if error.hint:
            error.add_note(f"hint: {error.hint}")
        raise


def config_of(config_type: type[C], values: Given) -> C:
    """The validated config; one text will do for a list, and a path for text. Raises `ConfigError` with the keyword."""
    given = {name: _fitting(value, config_type.model_fields[name]) for name, value in values.items()}
    try:
        return config_type.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "arguments"
        raise ConfigError(f"{place}: {first['msg']}", "help() of the function says what it takes") from error


def _fitting(value: Any, field: FieldInfo) -> Any:
    if isinstance(value, str | Path):
        return [str(value)] if get_origin(field.annotation) is list else str(value)
    return list(value) if isinstance(value, tuple) else value


def spelled(annotation: Any) -> str:
    """A field's type as a caller may give it."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " | ".join(spelled(arg) for arg in args)
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, args))}]"
    if origin is list:
        return f"str | Sequence[{spelled(args[0])}]"
    if annotation is Path:
        return "str | Path"
    return "None" if annotation is type(None) else str(annotation.__name__)


def _positional(inputs: dict[str, str], function: Callable[..., Any]) -> list[inspect.Parameter]:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [inspect.Parameter(name, kind, annotation=annotation) for name, annotation in inputs.items()]


def _keywords(config_type: type[Config], without: set[str], function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Keyword-only parameters; `output` comes first, since it decides what is returned."""
    shared = (StageConfig, JudgeConfig, EngineConfig)
    own_first = sorted(
        (name for name in config_type.model_fields if name not in without),
        key=lambda name: (name != "output", *(name in base.model_fields for base in shared)),
    )
    return [_keyword(name, config_type, _returns_frame(function)) for name in own_first]


def _keyword(name: str, config_type: type[Config], frame: bool) -> inspect.Parameter:
    field = config_type.model_fields[name]
    default: Any = inspect.Parameter.empty if field.is_required() else field.default
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    annotation = spelled(field.annotation)
    if extra.get("identity") == "name" and annotation.startswith("str"):
        annotation = annotation.replace("str", "str | Path", 1) if "Path" not in annotation else annotation
    if name == "output":
        default, annotation = (None, "str | Path | None") if frame else (inspect.Parameter.empty, "str | Path")
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _returns_frame(function: Callable[..., Any]) -> bool:
    return "DataFrame" in function.__annotations__["return"]


def _described(config_type: type[Config], signature: inspect.Signature) -> str:
    fields = config_type.model_fields
    known = [name for name in signature.parameters if name in fields]
    told = {name: " ".join((fields[name].description or "").split()) for name in known}
    if "output" in told and signature.parameters["output"].default is None:
        told["output"] = _OUTPUT
    lines = [f"    {name}: {text}" for name, text in told.items()]
    return "Args:\n" + "\n".join(lines)
