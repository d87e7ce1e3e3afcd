"""One sampled completion to one scored rollout: the only place where a reward comes into being."""

from __future__ import annotations

from typing import Any, Literal

from pivotrl_cli.engines import Completion
from pivotrl_cli.rows import Candidate, Rollout
from pivotrl_cli.verifiers import Verdict, Verifier

Truncated = Literal["exclude", "zero"]


def score(
    candidate: Candidate, sample: int, completion: Completion, verifier: Verifier, truncated: Truncated
) -> Rollout:
    """Score a completion against the candidate's demonstration.

    Text that is not an action is a wrong action: reward 0. A completion whose sampling or verification failed has no
    reward; one that was cut has none either, or 0 under `truncated="zero"`.
    """
    return Rollout(
        sample=sample,
        text=completion.text,
        action=completion.action,
        n_tokens=len(completion.token_ids),
        logprob=sum(completion.logprobs) if completion.logprobs else None,
        finish_reason=completion.finish_reason,
        seed=completion.seed,
        **_measure(candidate, completion, verifier, truncated),
    )


def _measure(candidate: Candidate, completion: Completion, verifier: Verifier, truncated: Truncated) -> dict[str, Any]:
    """The rollout's reward, verdict, detail and error."""
    if completion.error is not None:
        return {"reward": None, "verdict": "error", "error": completion.error}
    if completion.finish_reason == "length":
        return {"reward": 0.0 if truncated == "zero" else None, "verdict": "truncated"}
    if completion.action is None:
        return {"reward": 0.0, "verdict": "unparsable", "detail": completion.problem or ""}
    try:
        verdict = verifier(candidate, completion.action)
    except Exception as error:  # a verifier is user code: what it fails on is unmeasured, not wrong
        return {"reward": None, "verdict": "error", "error": f"{type(error).__name__}: {error}"}
    if not isinstance(verdict, Verdict):
        return {"reward": None, "verdict": "error", "error": f"the verifier returned {verdict!r}, not a Verdict"}
    if not 0.0 <= verdict.reward <= 1.0:
        return {"reward": None, "verdict": "error", "error": f"the verifier returned reward {verdict.reward}"}
    return {"reward": verdict.reward, "verdict": verdict.category, "detail": verdict.detail}
