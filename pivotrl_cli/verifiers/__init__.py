"""Functional verifiers: is this action equivalent to the demonstrated one?

A verifier is a function `(candidate, action) -> Verdict`. A new one is a new file here and a line in `VERIFIERS`; a
user's own is named as `module:function` or `file.py:function`. `NAME+any_message` takes any message for a demonstrated
one, `NAME+judge` asks a language model about what NAME does not accept outright, `NAME+any_message+judge` does both.

A verifier returns a verdict on any action, however broken. It raises `UnverifiableError` only where the demonstration
itself is malformed: a failed measurement is not a zero. The names with `_compat` reproduce NVIDIA's public verifiers
of NeMo Gym 0.7, faults included, `NAME@0.6` those of earlier releases where they differ; the others mend them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pivotrl_cli.errors import ConfigError
from pivotrl_cli.registry import load
from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers.compare.basis import Basis, rests_on_likeness
from pivotrl_cli.verifiers.compare.batches import CallCredit, score_calls
from pivotrl_cli.verifiers.compare.calls import UnverifiableError as UnverifiableError
from pivotrl_cli.verifiers.compare.differences import Difference
from pivotrl_cli.verifiers.compare.messages import accepted_category, message_difference, message_mismatch


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says of one action.

    Example: `Verdict(0.0, "argument_value_different", "order_id: expected 'A17', got 'A71'")`
    """

    reward: float
    """In [0, 1]."""
    category: str
    """Enumerated by the verifier."""
    detail: str = ""
    """For a person."""
    basis: Basis | None = field(default=None, compare=False)
    """What the acceptance rests on; None where a rule did not accept all, or does not say. Equality is without it."""

    @classmethod
    def of(
        cls, difference: Difference | None, expected: Message, reward: float = 0.0, basis: Basis | None = None
    ) -> Verdict:
        """Reward 1 where the action does not differ from the expected one, else `reward` and what differs."""
        if difference is None:
            return cls(1.0, str(accepted_category(expected)), basis=basis)
        return cls(reward, str(difference.category), difference.detail)

    @classmethod
    def of_messages(cls, compare: Callable[[Message, Message], Difference | None], *sides: Message) -> Verdict:
        """The verdict on two messages, the expected one first, that `compare` tells apart."""
        expected, action = sides
        difference, alike = rests_on_likeness(lambda: compare(expected, action))
        equal = expected.content.strip() == action.content.strip()
        basis = Basis.EQUAL if equal else Basis.SIMILAR if alike else Basis.PARSED_EQUAL
        return cls.of(difference, expected, basis=basis)


Verifier = Callable[[Candidate, Message], Verdict]


def compare_calls(candidate: Candidate, action: Message, credit: CallCredit) -> Verdict:
    """Calls by f1, each pair by `credit`; where a message was demonstrated, a message that says the same."""
    expected = candidate.expected_action
    if not expected.tool_calls:
        return Verdict.of_messages(message_difference, expected, action)
    score = score_calls(expected, action, credit)
    return Verdict.of(score.difference, expected, score.reward, score.basis)


VERIFIERS: dict[str, str] = {
    "tool_call": "pivotrl_cli.verifiers.tool_call:verify",
    "tool_call_compat": "pivotrl_cli.verifiers.nvidia.tool_call_compat:verify",
    "tool_name": "pivotrl_cli.verifiers.tool_name:verify",
    "exact": "pivotrl_cli.verifiers.exact:verify",
    "swe": "pivotrl_cli.verifiers.swe:verify",
    "swe_continuous": "pivotrl_cli.verifiers.swe:verify_continuous",
    "swe_compat": "pivotrl_cli.verifiers.nvidia.swe_compat:verify",
    "swe_compat_continuous": "pivotrl_cli.verifiers.nvidia.swe_compat:verify_continuous",
    "swe_compat@0.6": "pivotrl_cli.verifiers.nvidia.swe_compat:verify_0_6",
    "swe_compat_continuous@0.6": "pivotrl_cli.verifiers.nvidia.swe_compat:verify_continuous_0_6",
    "terminal": "pivotrl_cli.verifiers.terminal:verify",
    "terminal_compat": "pivotrl_cli.verifiers.nvidia.terminal_compat:verify",
    "terminus_compat": "pivotrl_cli.verifiers.nvidia.terminus_compat:verify",
    "xlam_fc_compat": "pivotrl_cli.verifiers.nvidia.xlam_fc_compat:verify",
    "search": "pivotrl_cli.verifiers.search:verify",
    "similarity": "pivotrl_cli.verifiers.similarity:verify",
    "execute": "pivotrl_cli.verifiers.execute:verify",
    "judge": "pivotrl_cli.verifiers.judge:Judge",
}


class Judge(Protocol):
    """A verifier that waits for a server, and can be called from as many threads as it says."""

    concurrency: int

    def __call__(self, candidate: Candidate, action: Message) -> Verdict: ...


class Either:
    """A verifier that asks the judge only about what `rule` does not accept outright."""

    def __init__(self, rule: Verifier, judge: Judge) -> None:
        self.concurrency = judge.concurrency
        self.__wrapped__ = rule
        self._judge = judge

    def __call__(self, candidate: Candidate, action: Message) -> Verdict:
        verdict = self.__wrapped__(candidate, action)
        return verdict if verdict.reward >= 1.0 else self._judge(candidate, action)


class AnyMessage:
    """A verifier that takes any message, unless it is blank, where a message was demonstrated."""

    def __init__(self, rule: Verifier) -> None:
        self.__wrapped__ = rule

    def __call__(self, candidate: Candidate, action: Message) -> Verdict:
        expected = candidate.expected_action
        if expected.tool_calls:
            return self.__wrapped__(candidate, action)
        return Verdict.of(message_mismatch(expected, action), expected, basis=Basis.SIMILAR)


_JUDGE, _OR_JUDGE, _ANY_MESSAGE = "judge", "+judge", "+any_message"
_ACTS_IN_MESSAGES = frozenset({"terminal", "terminus_compat"})


def asks_judge(name: str) -> bool:
    """Whether the verifier of that name is a judge, or falls back on one."""
    return name == _JUDGE or name.endswith(_OR_JUDGE)


def rule_of(name: str) -> str:
    """The part of a verifier that needs no judge: NAME of `NAME+judge`; a judge accepts the same action unasked."""
    return "exact" if name == _JUDGE else name.removesuffix(_OR_JUDGE)


def load_verifier(name: str, judge: Judge | None = None) -> Verifier:
    """The verifier of that name, or a user's own; `judge` is asked by those whose name says so."""
    if asks_judge(name):
        if judge is None:
            raise ConfigError(
                f"verifier {name!r} needs a judge",
                "profile, train, eval and score take --judge-url http://HOST:PORT/v1 --judge-model NAME",
            )
        return judge if name == _JUDGE else Either(load_verifier(rule_of(name)), judge)
    if name.endswith(_ANY_MESSAGE):
        rule = name.removesuffix(_ANY_MESSAGE)
        if asks_judge(rule):
            fixed = f"{rule_of(rule)}{_ANY_MESSAGE}{_OR_JUDGE}"
            raise ConfigError(f"verifier {name!r}: the judge comes last", f"write {fixed}")
        if rule in _ACTS_IN_MESSAGES:
            raise ConfigError(f"verifier {name!r} would take any command", f"messages are commands there; write {rule}")
        return AnyMessage(load_verifier(rule))
    verifier: Verifier = load("verifier", name, VERIFIERS)
    if not callable(verifier):
        raise ConfigError(f"verifier {name!r} is not a function", "it takes (candidate, action) and returns a Verdict")
    return verifier
