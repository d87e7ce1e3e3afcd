# ruff: noqa: RUF001  the marks of DeepSeek have a full-width bar
"""The known formats, from `families.toml`, in the order in which they are tried."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from pivotrl_cli.model.formats.notation import Format, to_format

KNOWN: tuple[Format, ...] = tuple(
    map(to_format, tomllib.loads(Path(__file__).with_name("families.toml").read_text("utf-8"))["format"])
)

MESSAGES = Format("messages", body="none", families="models whose template writes no calls")

BY_NAME = {one.name: one for one in (*KNOWN, MESSAGES)}

RAW_CALL = re.compile(
    r"</?tool_call>|<function=|\[TOOL_CALLS\]|<\|python_(?:tag|start)\|>|<\|tool_calls?\b|<｜tool▁call|<｜DSML｜|<arg_key>"
    r"|<\w+:tool_call>|<tool_calls?[:>]|<TOOLCALL>|<\|tools_prefix\|>|<\|START_ACTION\|>|<\|action_start\|>"
    r"|<\|function_call\|>|<\|open\|>call|<\|channel\|>commentary to=|\A\s*\[\w+\(\w+="
    r"|\A\s*\[?\s*\{\s*\"name\"\s*:\s*\"[^\"]+\"\s*,\s*\"(?:arguments|parameters)\"\s*:"
)
"""What calls begin with in text: a server that returns one as text did not parse it."""
