"""Reading and comparing actions: what verifiers share, and where everything that all of them need is bounded.

    differences.py  categories, and a difference with its place and reason
    calls.py        tool calls with parsed arguments; what a malformed demonstration raises
    messages.py     message or call: whole actions
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
from pivotrl_cli.verifiers.compare.messages import (
    accepted_category,
    call_count_difference,
    message_difference,
    message_mismatch,
    require_demonstration,
)

__all__ = [
    "MAX_NESTING",
    "Call",
    "Category",
    "Difference",
    "UnverifiableError",
    "accepted_category",
    "call_count_difference",
    "demonstrated_calls",
    "key_difference",
    "listed",
    "maximum_matching",
    "message_difference",
    "message_mismatch",
    "read_call",
    "read_object_call",
    "require_demonstration",
    "require_sound",
    "shown",
    "value_difference",
]
