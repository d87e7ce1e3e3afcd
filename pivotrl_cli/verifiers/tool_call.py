"""The default: the demonstrated calls with functionally equal arguments, or a message that says the same.

The rule for conversational tool use of the paper (arXiv 2603.21383, appendix A.2: call or talk, tool name, arguments),
with what can be exploited in NVIDIA's public verifier mended. `tool_call_compat` keeps that one as it is.

| case                             | compat                      | here                                        |
|----------------------------------|-----------------------------|---------------------------------------------|
| message expected                 | any message, even empty: 1  | same content words, numbers, negations      |
| expected call among surplus ones | 1                           | f1: 2/3 for one surplus call                |
| some of the expected calls       | 0                           | f1                                          |
| optional argument left out       | differs                     | stands for its default, where one is known  |
| "CARD" for "card"                | differs                     | equal where the schema enumerates           |
| order of a list                  | matters                     | not where the schema says `uniqueItems`     |
| 5 and 5.0                        | differ                      | equal                                       |
| 1 expected, `true` given         | equal                       | differ, a boolean is not a number           |
| fractions                        | absolute 1e-6               | relative or absolute 1e-6                   |
| NaN, Infinity                    | differ from themselves      | equal themselves                            |
| strings                          | a fifth of the words shared | by what they mean in their own grammar      |
| arguments that are not an object | compared like any value     | 0, `arguments_not_object`                   |

Names must be equal, arguments match or not; several calls are scored by f1, in any order. Text beside demonstrated
calls, reasoning and call ids are ignored. Without schemas the default and enumeration rules are silent.

Left out: partial credit within one call.
"""

from __future__ import annotations

from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers import Verdict, compare_calls
from pivotrl_cli.verifiers.compare.batches import call_credit


def verify(candidate: Candidate, action: Message) -> Verdict:
    return compare_calls(candidate, action, lambda want, got: call_credit(want, got, candidate.tools))
