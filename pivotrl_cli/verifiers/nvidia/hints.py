"""What a candidate's provenance says of the harness that its trajectory came from.

Peers' pivot rows carry such keys beside the action (`harness`, `threshold`), under `metadata`, or as the action's
`type` (here `action_type`); readers keep them.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from pivotrl_cli.rows import Candidate


def hint(candidate: Candidate, key: str) -> Any:
    """The value under `key` in the provenance, or in its `metadata`; None where neither has it."""
    provenance = _object(candidate.provenance)
    metadata = provenance.get("metadata")
    return provenance.get(key, metadata.get(key) if isinstance(metadata, dict) else None)


@lru_cache(maxsize=256)
def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def is_batch(candidate: Candidate) -> bool:
    """Whether a single demonstrated call was recorded as a batch of one, which peers keep apart."""
    return len(candidate.expected_action.tool_calls) > 1 or hint(candidate, "action_type") == "function_call_batch"


def number_hint(candidate: Candidate, key: str) -> float | None:
    """A number under `key`, else None."""
    value = hint(candidate, key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
