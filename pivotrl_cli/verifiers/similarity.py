"""Dense likeness to the demonstrated action: the step-wise reward of SRL (arXiv 2510.25992).

    reward = 2 M / T

M is the number of characters in the blocks that `difflib.SequenceMatcher` matches, T the characters of both actions
together: 1 for the same text, 0 where nothing matches. The paper gives -1 to malformed output; rewards are in [0, 1]
here, so it earns 0, as does a message where calls were demonstrated and the reverse. Like the paper, reasoning is left
out.

An action's text is its message, or its calls, one a line: the name and the arguments as JSON with sorted keys.

This reward says how much an action looks like the demonstration, not whether it does the same: `DESC` for `ASC` earns
nearly all. It learns where every rollout fails, and is an arm to compare with, not a default.
"""

from __future__ import annotations

import json

from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers import Verdict
from pivotrl_cli.verifiers.compare.calls import Call, demonstrated_calls, read_object_call
from pivotrl_cli.verifiers.compare.differences import Category, Difference
from pivotrl_cli.verifiers.compare.messages import message_mismatch, missing_call
from pivotrl_cli.verifiers.compare.similarity import difflib_ratio


def verify(candidate: Candidate, action: Message) -> Verdict:
    expected = candidate.expected_action
    wanted = demonstrated_calls(expected)
    given = [read_object_call(call) for call in action.tool_calls]
    malformed = missing_call(expected, action) if wanted else message_mismatch(expected, action)
    malformed = malformed or next((call.problem for call in given if call.problem), None)
    if malformed:
        return Verdict.of(malformed, expected)
    texts = (_text(given), _text(wanted)) if wanted else (action.content.strip(), expected.content.strip())
    reward = difflib_ratio(*texts, enough=0.0)
    if reward is None:
        reason = f"differs, in {len(texts[0])} characters"
        return Verdict.of(Difference(Category.COMPARISON_BEYOND_LIMITS, reason), expected)
    below = Difference(Category.SIMILARITY_BELOW_THRESHOLD, f"similarity {reward:.2f}")
    return Verdict.of(None if reward == 1.0 else below, expected, reward)


def _text(calls: list[Call]) -> str:
    return "\n".join(f"{call.name} {json.dumps(call.arguments, sort_keys=True, ensure_ascii=False)}" for call in calls)
