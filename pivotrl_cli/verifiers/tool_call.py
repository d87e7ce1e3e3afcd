"""The default: the demonstrated calls with functionally equal arguments, or a message that says the same.

The rule for conversational tool use of the paper (arXiv 2603.21383, appendix A.2: call or talk, tool name, arguments),
with what can be exploited in NVIDIA's public verifier mended. `tool_call_compat` keeps that one as it is.

| case                             | compat                      | here                                        |
|----------------------------------|-----------------------------|---------------------------------------------|
| message expected                 | any message, even empty: 1  | same words (Dice >= 0.5), every number kept |
| expected call among surplus ones | 1                           | f1: 2/3 for one surplus call                |
| some of the expected calls       | 0                           | f1                                          |
| optional argument left out       | differs                     | stands for its default, where one is known  |
| "CARD" for "card"                | differs                     | equal where the schema enumerates           |
| order of a list                  | matters                     | not where the schema says `uniqueItems`     |
| 5 and 5.0                        | differ                      | equal                                       |
| 1 expected, `true` given         | equal                       | differ, a boolean is not a number           |
| fractions                        | absolute 1e-6               | relative or absolute 1e-6                   |
| NaN, Infinity                    | differ from themselves      | equal themselves                            |
| one word                         | raw equality                | equality after strip; case counts (ids)     |
| two to four words ("New York")   | a fifth of the words shared | same words, same order, case folded         |
| five words and more              | a fifth of the words shared | Dice >= 0.5, every number kept              |
| ... that hold signs of code      | a fifth of the words shared | same words, same order, same case           |
| arguments that are no object     | compared like any value     | 0, `arguments_not_object`                   |

Names must be equal, arguments match or not; several calls are scored by f1, in any order. Text beside demonstrated
calls, reasoning and call ids are ignored. Without schemas the default and enumeration rules are silent.

Left out: partial credit within one call, and any likeness of commands and code (`swe` and `terminal` know them).
"""

from __future__ import annotations

from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers import Verdict
from pivotrl_cli.verifiers.compare import Call, Category, Difference, talk_difference, value_difference
from pivotrl_cli.verifiers.compare.arguments import arguments_difference
from pivotrl_cli.verifiers.compare.batches import Credit, credit_of, score_calls
from pivotrl_cli.verifiers.compare.parameters import shape_of


def verify(candidate: Candidate, action: Message) -> Verdict:
    """Score `action` against the demonstrated one."""
    expected = candidate.expected_action
    if not expected.tool_calls:
        return Verdict.of(talk_difference(expected, action), Category.EXPECTED_CHAT_MESSAGE_FOUND)

    def credit(want: Call, got: Call) -> Credit:
        return credit_of(call_difference(want, got, candidate.tools))

    return Verdict.of_calls(score_calls(expected, action, credit), expected)


def call_difference(expected: Call, actual: Call, tools: str) -> Difference | None:
    """Same name, and equal arguments."""
    if expected.name != actual.name:
        return value_difference(Category.UNEXPECTED_TOOL, expected.name, actual.name)
    return arguments_difference(expected.arguments, actual.arguments, shape_of(tools, expected.name))
