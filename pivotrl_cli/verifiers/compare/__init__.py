"""Reading and comparing actions: what verifiers share, and where everything that all of them need is bounded.

    differences.py  categories, and a difference with its place and reason
    calls.py        tool calls with parsed arguments; what a malformed demonstration raises
    talk.py         call or talk: whole messages
    prose.py        two texts that say the same
    arguments.py    two argument values that mean the same, by the tool's schema
    parameters.py   what a tool's schema says of equality
    matching.py     pairing calls
    batches.py      several calls: f1
    similarity.py   how alike two long texts are
    coding.py       coding tools: kinds, and the keys of their arguments
    commands.py     shell commands
    queries.py      search queries
    urls.py         addresses of pages
    terminus.py     messages of the Terminus harnesses
    harness_rules.py  what NVIDIA's harness verifier compares in each tool
    hints.py        what a candidate's provenance says of its harness

Nothing here raises on what a model wrote, and nothing executes it.
"""

from pivotrl_cli.verifiers.compare.calls import (
    MAX_NESTING,
    Call,
    UnverifiableError,
    demonstrated_calls,
    read_call,
    read_object_call,
    require_sound,
)
from pivotrl_cli.verifiers.compare.differences import (
    Category,
    Difference,
    key_difference,
    listed,
    shown,
    value_difference,
)
from pivotrl_cli.verifiers.compare.matching import maximum_matching
from pivotrl_cli.verifiers.compare.talk import count_difference, require_demonstration, talk_difference

__all__ = [
    "MAX_NESTING",
    "Call",
    "Category",
    "Difference",
    "UnverifiableError",
    "count_difference",
    "demonstrated_calls",
    "key_difference",
    "listed",
    "maximum_matching",
    "read_call",
    "read_object_call",
    "require_demonstration",
    "require_sound",
    "shown",
    "talk_difference",
    "value_difference",
]
