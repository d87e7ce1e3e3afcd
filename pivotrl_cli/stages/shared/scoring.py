"""One sampled completion to one scored rollout: the only place where a reward of one turn is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Literal, TypeVar

from pivotrl_cli.engines import Completion
from pivotrl_cli.errors import PivotRLError
from pivotrl_cli.rows import Candidate, Rollout
from pivotrl_cli.verifiers import Verdict, Verifier

Truncated = Literal["exclude", "zero"]
T = TypeVar("T")
R = TypeVar("R")


def score(
    candidate: Candidate, sample: int, completion: Completion, verifier: Verifier, truncated: Truncated
) -> Rollout:
    """Score a completion against the candidate's demonstration.

    Text that cannot be parsed into an action gets reward 0. A completion whose sampling or verification failed has no
    reward; one that was cut has none either, or 0 with `truncated="zero"`.
    """
    return Rollout(
        sample=sample,
        text=completion.text,
        action=completion.action,
        n_tokens=len(completion.token_ids or completion.logprobs),
        logprob=sum(completion.logprobs) if completion.logprobs else None,
        finish_reason=completion.finish_reason,
        seed=completion.seed,
        **_measure(candidate, completion, verifier, truncated),
    )


def score_group(
    candidate: Candidate,
    completions: Iterable[Completion],
    verifier: Verifier,
    truncated: Truncated,
    first: int = 0,
) -> list[Rollout]:
    """Score the samples of one candidate, in order, the first of which has index `first`."""
    scored = map_concurrently(
        lambda item: score(candidate, item[0], item[1], verifier, truncated),
        enumerate(completions, first),
        getattr(verifier, "concurrency", 1),
    )
    return list(scored)


def score_again(candidate: Candidate, rollout: Rollout, verifier: Verifier) -> Rollout:
    """Score a recorded rollout, which was not cut, with another verifier."""
    completion = Completion(text=rollout.text, action=rollout.action, problem=rollout.detail)
    measured = {"error": None, "detail": "", "basis": None} | _measure(candidate, completion, verifier, "exclude")
    return rollout.model_copy(update=measured)


def map_concurrently(function: Callable[[T], R], items: Iterable[T], concurrency: int) -> Iterator[R]:
    """`map`, in order, of several items at once; verifiers that wait for a server state their `concurrency`."""
    if concurrency == 1:
        yield from map(function, items)
        return
    rest = iter(items)
    with ThreadPoolExecutor(concurrency) as pool:
        while several := list(islice(rest, 4 * concurrency)):
            yield from pool.map(function, several)


LOOPING = "looping"
"""Detail of a completion that was cut because it repeats itself."""
_LONGEST_PERIOD = 64
_LEAST_LOOPING = 32


def loops(completion: Completion) -> bool:
    """Whether a cut completion repeats itself: in its tokens, or in its text where it has no tokens."""
    return repeats_itself(completion.token_ids or completion.text)


def repeats_itself(sequence: Sequence[Any]) -> bool:
    """Whether the last half of a sequence is one short piece over and over.

    True if for some period p of at most 64 items, each item of the last half (rounded up) equals the one p before it,
    both in that half, and the piece stands there at least three times. Never of fewer than 32 items.

    Example: `"I will. " * 9` does, `"I will look. " + "x" * 9` does not: it is too short.
    """
    if len(sequence) < _LEAST_LOOPING:
        return False
    half = sequence[len(sequence) // 2 :]
    return any(half[p:] == half[:-p] for p in range(1, min(_LONGEST_PERIOD, len(half) // 3) + 1))


def _measure(candidate: Candidate, completion: Completion, verifier: Verifier, truncated: Truncated) -> dict[str, Any]:
    """Reward, verdict, detail and error of a rollout."""
    if completion.error is not None:
        return {"reward": None, "verdict": "error", "error": completion.error}
    if completion.finish_reason == "length":
        reward = 0.0 if truncated == "zero" else None
        return {"reward": reward, "verdict": "truncated", "detail": LOOPING if loops(completion) else ""}
    if completion.action is None:
        return {"reward": 0.0, "verdict": "unparsable", "detail": completion.problem or ""}
    try:
        verdict = verifier(candidate, completion.action)
    except PivotRLError:  # the user can fix it, and it holds for every rollout
        raise
    except Exception as error:  # a verifier is user code: what it fails on is unmeasured, not wrong
        return {"reward": None, "verdict": "error", "error": f"{type(error).__name__}: {error}"}
    if not isinstance(verdict, Verdict):
        return {"reward": None, "verdict": "error", "error": f"the verifier returned {verdict!r}, not a Verdict"}
    if not 0.0 <= verdict.reward <= 1.0:
        return {"reward": None, "verdict": "error", "error": f"the verifier returned reward {verdict.reward}"}
    return {"reward": verdict.reward, "verdict": verdict.category, "detail": verdict.detail, "basis": verdict.basis}
