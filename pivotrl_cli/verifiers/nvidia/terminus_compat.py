"""NVIDIA's public verifier for terminal pivots of the Terminus harnesses, reproduced reward by reward and code by code.

It follows the behaviour of `terminus_judge` of NeMo Gym 0.6 and 0.7 in its `string_only` configuration: a ratio of 0.9
and no judge. An action is a message whose text, after the last `</think>`, is a JSON object: an analysis, a plan, and
commands with keystrokes. Its keystrokes, joined without a separator, are compared by difflib's ratio with the
demonstrated ones. Durations and `is_blocking` are not compared. `terminal` lists what the default does otherwise.

The harness and a threshold of the row are taken from the candidate's provenance; where it names none, the harness shows
in the demonstration's keys.

Differences: text that their parser fails on with an error (nesting, integers of more than 4,300 digits) or that is
longer than 16 million characters is `model_output_invalid`; keystrokes too long for difflib's ratio are
`comparison_beyond_limits`, with reward 0.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers import Verdict
from pivotrl_cli.verifiers.compare.similarity import difflib_ratio
from pivotrl_cli.verifiers.compare.terminus import (
    HARNESSES,
    guess_harness,
    is_valid,
    json_object,
    keystrokes,
    says_complete,
    spoken_text,
)
from pivotrl_cli.verifiers.nvidia.hints import hint, number_hint

THRESHOLD = 0.9
"""Ratio from which keystrokes are equal."""


class TerminusCode(StrEnum):
    """Their failure codes without a judge, and one of ours."""

    NONE = "none"
    """Accepted."""
    EXPECTED_ANSWER_INVALID = "expected_answer_invalid"
    """The demonstration is not in the harness's form."""
    MODEL_OUTPUT_INVALID = "model_output_invalid"
    """The text is empty or not a JSON object."""
    SCHEMA_CHECK_FAILED = "schema_check_failed"
    """The object is not in the harness's form."""
    TASK_COMPLETE_CHECK_FAILED = "task_complete_check_failed"
    """The demonstration declares the task done and the action does not."""
    STRING_SIMILARITY_BELOW_THRESHOLD = "string_similarity_below_threshold"
    """The keystrokes are too unlike."""
    UNKNOWN_HARNESS = "unknown_harness"
    """Neither terminus_1 nor terminus_2."""
    COMPARISON_BEYOND_LIMITS = "comparison_beyond_limits"
    """Ours: the ratio cannot be told in bounded time."""


def verify(candidate: Candidate, action: Message) -> Verdict:
    """Score `action` as NVIDIA's server does without a judge."""
    expected = candidate.expected_action.content
    threshold = number_hint(candidate, "threshold")
    harness = hint(candidate, "harness") or guess_harness(expected)
    return compare_texts(expected, action.content, harness, THRESHOLD if threshold is None else threshold)


def compare_texts(expected: str, actual: str, harness: object, threshold: float) -> Verdict:
    """The checks in their order; the first that fails names the code."""
    wanted, given = json_object(expected), json_object(spoken_text(actual))
    problem = _problem(expected, actual, wanted, given, harness)
    if problem is not None:
        return Verdict(0.0, str(problem))
    assert wanted is not None
    assert given is not None
    one_sided = bool(wanted["commands"]) != bool(given["commands"])
    ratio = 0.0 if one_sided else difflib_ratio(keystrokes(wanted), keystrokes(given), threshold)
    if ratio is None:
        return Verdict(0.0, str(TerminusCode.COMPARISON_BEYOND_LIMITS))
    code = TerminusCode.NONE if ratio >= threshold else TerminusCode.STRING_SIMILARITY_BELOW_THRESHOLD
    return Verdict(float(ratio >= threshold), str(code), f"similarity {ratio:.3f}")


def _problem(
    expected: str, actual: str, wanted: dict[str, Any] | None, given: dict[str, Any] | None, harness: object
) -> TerminusCode | None:
    """The first check that fails before keystrokes are compared."""
    if not expected:
        return TerminusCode.EXPECTED_ANSWER_INVALID
    if not actual.strip():
        return TerminusCode.MODEL_OUTPUT_INVALID
    if wanted is None:
        return TerminusCode.EXPECTED_ANSWER_INVALID
    if given is None:
        return TerminusCode.MODEL_OUTPUT_INVALID
    if not isinstance(harness, str) or harness not in HARNESSES:
        return TerminusCode.UNKNOWN_HARNESS
    if not is_valid(wanted, harness):
        return TerminusCode.EXPECTED_ANSWER_INVALID
    if not is_valid(given, harness):
        return TerminusCode.SCHEMA_CHECK_FAILED
    if says_complete(wanted) and not says_complete(given):
        return TerminusCode.TASK_COMPLETE_CHECK_FAILED
    return None
