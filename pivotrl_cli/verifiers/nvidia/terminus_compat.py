"""NVIDIA's public verifier for terminal pivots of the Terminus harnesses, reproduced reward by reward and code by code.

It follows the behaviour of `terminus_judge` in NVIDIA-NeMo/Gym at 07d6b0d07b22. An action is a message whose text,
after the last `</think>`, is a JSON object: an analysis, a plan, and commands with keystrokes. Its keystrokes, joined
without a separator, are compared by difflib's ratio with the demonstrated ones; a judge, where one is given, decides
what the ratio rejects. Durations and `is_blocking` are not compared. `terminal` lists what the default does otherwise.

The harness and a threshold of the row are taken from the candidate's provenance; where it names none, the harness shows
in the demonstration's keys. `verify` follows their `string_only` configuration: 0.9, no judge.

Differences: text that their parser fails on with an error (nesting, integers of more than 4,300 digits) or that is
longer than 16 million characters is `model_output_invalid`; keystrokes too long for difflib's ratio are
`comparison_beyond_limits`, with reward 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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

Judge = Callable[[str, str], str]
"""Answers, for a first and a second text of two actions, with a text that ends in one of the labels."""

VERDICT_WINDOW = 200
"""Last characters of a judge's answer in which the last label counts; before them the first one does."""


class TerminusCode(StrEnum):
    """Their failure codes, and one of ours."""

    NONE = "none"
    """Accepted."""
    EXPECTED_ANSWER_INVALID = "expected_answer_invalid"
    """The demonstration is not in the harness's form."""
    MODEL_OUTPUT_INVALID = "model_output_invalid"
    """The text is empty or no JSON object."""
    SCHEMA_CHECK_FAILED = "schema_check_failed"
    """The object is not in the harness's form."""
    TASK_COMPLETE_CHECK_FAILED = "task_complete_check_failed"
    """The demonstration declares the task done and the action does not."""
    STRING_SIMILARITY_BELOW_THRESHOLD = "string_similarity_below_threshold"
    """The keystrokes are too unlike."""
    UNKNOWN_HARNESS = "unknown_harness"
    """Neither terminus_1 nor terminus_2."""
    JUDGE_NOT_EQUIVALENT = "judge_not_equivalent"
    """The judge says no, at once or after swapping."""
    JUDGE_PARSING_FAILED = "judge_parsing_failed"
    """The judge's answer has no label."""
    JUDGE_SWAP_PARSING_FAILED = "judge_swap_parsing_failed"
    """The judge's second answer has no label."""
    COMPARISON_BEYOND_LIMITS = "comparison_beyond_limits"
    """Ours: the ratio cannot be told in bounded time."""


@dataclass(frozen=True, slots=True)
class TerminusConfig:
    """Their configuration keys under their names; `enable_llm_judge` holds where a judge is given."""

    enable_string_similarity: bool = True
    """Whether keystrokes are compared; with neither this nor a judge, the form is enough."""
    string_similarity_threshold: float = 0.9
    """Ratio from which they are equal."""
    judge: Judge | None = None
    """Decides what the ratio rejects."""
    check_twice_swap: bool = False
    """Whether the judge has to agree with the two texts swapped."""
    reward_if_swap_fails: float = 0.0
    """Reward where it does not."""
    judge_equal_label: str = "[[A=B]]"
    """The judge's yes."""
    judge_not_equal_label: str = "[[A!=B]]"
    """The judge's no."""


def verify(candidate: Candidate, action: Message) -> Verdict:
    """Score `action` as NVIDIA's server does without a judge."""
    expected = candidate.expected_action.content
    threshold = number_hint(candidate, "threshold")
    config = TerminusConfig() if threshold is None else TerminusConfig(string_similarity_threshold=threshold)
    harness = hint(candidate, "harness") or guess_harness(expected)
    return compare_texts(expected, action.content, harness, config)


def compare_texts(expected: str, actual: str, harness: object, config: TerminusConfig) -> Verdict:
    """The checks in their order; the first that fails names the code."""
    said = spoken_text(actual)
    wanted, given = json_object(expected), json_object(said)
    problem = _problem(expected, actual, wanted, given, harness)
    if problem is not None:
        return Verdict(0.0, str(problem))
    assert wanted is not None
    assert given is not None
    verdict = _compare(wanted, given, config)
    judged = config.judge is not None and verdict.reward != 1.0
    return _judge(expected, said, config) if judged else verdict


def _problem(
    expected: str, actual: str, wanted: dict[str, Any] | None, given: dict[str, Any] | None, harness: object
) -> TerminusCode | None:
    """What is wrong before any keystroke is looked at."""
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


def _compare(wanted: dict[str, Any], given: dict[str, Any], config: TerminusConfig) -> Verdict:
    """Keystrokes by difflib's ratio. No command on one side only is a ratio of 0, on both sides of 1."""
    if not config.enable_string_similarity:
        return Verdict(float(config.judge is None), str(TerminusCode.NONE))
    enough = config.string_similarity_threshold
    one_sided = bool(wanted["commands"]) != bool(given["commands"])
    ratio = 0.0 if one_sided else difflib_ratio(keystrokes(wanted), keystrokes(given), enough)
    if ratio is None:
        return Verdict(0.0, str(TerminusCode.COMPARISON_BEYOND_LIMITS))
    code = TerminusCode.NONE if ratio >= enough else TerminusCode.STRING_SIMILARITY_BELOW_THRESHOLD
    return Verdict(float(ratio >= enough), str(code), f"similarity {ratio:.3f}")


def _judge(expected: str, said: str, config: TerminusConfig) -> Verdict:
    """The judge's answer, and where asked for its answer to the two texts swapped."""
    assert config.judge is not None
    first = read_verdict(config.judge(expected, said), config)
    if first is None:
        return Verdict(0.0, str(TerminusCode.JUDGE_PARSING_FAILED))
    if not first:
        return Verdict(0.0, str(TerminusCode.JUDGE_NOT_EQUIVALENT))
    second = read_verdict(config.judge(said, expected), config) if config.check_twice_swap else True
    if second is None:
        return Verdict(0.0, str(TerminusCode.JUDGE_SWAP_PARSING_FAILED))
    if not second:
        return Verdict(config.reward_if_swap_fails, str(TerminusCode.JUDGE_NOT_EQUIVALENT))
    return Verdict(1.0, str(TerminusCode.NONE))


def read_verdict(answer: str, config: TerminusConfig) -> bool | None:
    """Yes, no, or None where the answer has neither label."""
    yes, no = config.judge_equal_label, config.judge_not_equal_label
    last_yes, last_no = (answer[-VERDICT_WINDOW:].rfind(label) for label in (yes, no))
    if max(last_yes, last_no) >= 0:
        return last_yes > last_no
    first_yes, first_no = (answer.find(label) for label in (yes, no))
    if max(first_yes, first_no) < 0:
        return None
    return first_yes >= 0 and (first_no < 0 or first_yes < first_no)
