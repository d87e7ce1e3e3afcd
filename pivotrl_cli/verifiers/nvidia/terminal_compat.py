"""NVIDIA's public verifier for terminal pivots of tool-calling harnesses, reproduced category by category.

It follows the behaviour of `terminal_multi_harness` of NeMo Gym 0.6 and 0.7 (codex, opencode, agent006, stirrup). A
call has to be valid under its declared schema, carry the expected name and no key that the demonstration lacks; then a
rule of the harness looks at some of the values, and a tool without a rule passes. Any message that is not blank matches
a demonstrated message. `terminal` lists what the default does otherwise.

The harness and a threshold of the row are taken from the candidate's provenance, else `generic` and 0.9, as in all of
their configurations. Two of their knobs (`floating_point_comparison_threshold`, `ignored_argument_keys_by_tool`) are
never read there and left out here.

Differences: arguments that are not a JSON object, on which their server fails with an error, get the category that it
was meant to give; text too long for difflib's ratio is `comparison_beyond_limits`; a remote reference in a schema is
never fetched.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry

from pivotrl_cli.rows import Candidate, Message, ToolCall
from pivotrl_cli.verifiers import Verdict
from pivotrl_cli.verifiers.compare.calls import read_call, read_json
from pivotrl_cli.verifiers.compare.parameters import declared_tools
from pivotrl_cli.verifiers.nvidia.harness_rules import MATCH, RULES, ArgumentRule, HarnessCode, Outcome
from pivotrl_cli.verifiers.nvidia.hints import hint, is_batch, number_hint

THRESHOLD = 0.9
"""Their configured ratio from which texts are equal."""


def verify(candidate: Candidate, action: Message) -> Verdict:
    """Score `action` as NVIDIA's server does for the candidate's harness."""
    harness, threshold = hint(candidate, "harness"), number_hint(candidate, "threshold")
    return compare_actions(
        candidate.expected_action,
        action,
        candidate.tools,
        harness if isinstance(harness, str) else "generic",
        THRESHOLD if threshold is None else threshold,
        batch=is_batch(candidate),
    )


def compare_actions(
    expected: Message, actual: Message, tools: str, harness: str, threshold: float, batch: bool = False
) -> Verdict:
    """Message, single call or batch: the kinds have to agree."""
    # Their responses hold an empty message item where the model wrote nothing at all, but none beside bare reasoning.
    if not actual.tool_calls and not actual.content and actual.reasoning:
        return _verdict(Outcome(HarnessCode.NO_ACTION_FOUND))
    kinds = 2 if batch else min(len(expected.tool_calls), 2), min(len(actual.tool_calls), 2)
    if kinds[0] != kinds[1]:
        return _verdict(Outcome(HarnessCode.ACTION_TYPE_MISMATCH))
    if not expected.tool_calls:
        spoken = bool(actual.content.strip())
        return _verdict(Outcome(HarnessCode.EXPECTED_CHAT_MESSAGE_FOUND if spoken else HarnessCode.EMPTY_MESSAGE))
    return _verdict(_compare_calls(expected.tool_calls, actual.tool_calls, tools, RULES.get(harness, {}), threshold))


def _verdict(outcome: Outcome) -> Verdict:
    accepted = outcome.code in (
        HarnessCode.EXPECTED_CHAT_MESSAGE_FOUND,
        HarnessCode.EXPECTED_TOOL_CALL,
        HarnessCode.EXPECTED_TOOL_CALL_BATCH,
    )
    detail = "" if outcome.similarity is None else f"similarity {outcome.similarity:.3f}"
    return Verdict(float(accepted), str(outcome.code), detail)


def _compare_calls(
    expected: list[ToolCall], actual: list[ToolCall], tools: str, rules: dict[str, ArgumentRule], threshold: float
) -> Outcome:
    """One call, or as many as expected in the order of their names and arguments; the first failure counts."""
    if len(expected) != len(actual):
        return Outcome(HarnessCode.FUNCTION_CALL_BATCH_LENGTH_DIFFERENT)
    outcome = MATCH
    for want, got in zip(sorted(expected, key=_order), sorted(actual, key=_order), strict=True):
        outcome = _compare_call(want, got, tools, rules, threshold)
        if outcome.code != HarnessCode.EXPECTED_TOOL_CALL:
            return outcome
    return outcome if len(expected) == 1 else Outcome(HarnessCode.EXPECTED_TOOL_CALL_BATCH)


def _order(call: ToolCall) -> tuple[str, str]:
    arguments = read_call(call).arguments
    canonical = isinstance(arguments, dict)
    return call.name, json.dumps(arguments, sort_keys=True, separators=(",", ":")) if canonical else call.arguments


def _compare_call(
    expected: ToolCall, actual: ToolCall, tools: str, rules: dict[str, ArgumentRule], threshold: float
) -> Outcome:
    """Arguments that can be read, a valid call, the name, no further keys, then the tool's own rule."""
    want, got = _arguments(expected), _arguments(actual)
    if isinstance(want, HarnessCode):
        return Outcome(want)
    if isinstance(got, HarnessCode):
        return Outcome(got)
    schemas = _validators(tools)
    if actual.name not in schemas:
        return Outcome(HarnessCode.TOOL_SCHEMA_NOT_FOUND)
    validator = schemas[actual.name]
    got = _parse_nested(got, validator.schema) if validator else got
    try:
        valid = validator is not None and validator.is_valid(got)
    except Exception:  # a reference that leads nowhere, a broken pattern: a failed validation, as there
        valid = False
    if not valid:
        return Outcome(HarnessCode.TOOL_SCHEMA_VALIDATION_FAILED)
    if expected.name != actual.name:
        return Outcome(HarnessCode.UNEXPECTED_TOOL)
    if not got.keys() <= want.keys():
        return Outcome(HarnessCode.UNEXPECTED_ARGUMENT_KEYS)
    rule = rules.get(expected.name)
    return rule(want, got, threshold) if rule else MATCH


def _arguments(call: ToolCall) -> dict[str, Any] | HarnessCode:
    parsed = read_call(call)
    if parsed.problem is not None:
        return HarnessCode.ARGUMENTS_DECODE_ERROR
    return parsed.arguments if isinstance(parsed.arguments, dict) else HarnessCode.ARGUMENTS_NOT_OBJECT


def _parse_nested(arguments: dict[str, Any], schema: Any) -> dict[str, Any]:
    """With lists and objects parsed that were written as strings of JSON, at the top level."""
    properties = schema.get("properties")
    declared = properties if isinstance(properties, dict) else {}
    return {key: _unquote(value, declared.get(key)) for key, value in arguments.items()}


def _unquote(value: Any, schema: Any) -> Any:
    declared = schema.get("type") if isinstance(schema, dict) and isinstance(value, str) else None
    kind = list if declared == "array" else dict if declared == "object" else None
    parsed = read_json(value, "arguments")[0] if kind else None
    return parsed if kind and isinstance(parsed, kind) else value


@lru_cache(maxsize=64)
def _validators(tools: str) -> dict[str, Draft202012Validator | None]:
    """By name, None for a schema that is not valid; references are resolved within a schema only."""
    found: dict[str, Draft202012Validator | None] = {}
    for name, schema in declared_tools(tools):
        try:
            Draft202012Validator.check_schema(schema)
        except Exception:  # a broken schema fails in many ways
            found[name] = None
        else:
            found[name] = Draft202012Validator(schema, registry=Registry())
    return found
