"""A language model at an OpenAI-compatible endpoint decides whether two actions are equivalent.

Asked twice with the two actions in swapped places; both answers must say SAME, so a judge that prefers a place accepts
nothing; the demonstrated action itself is accepted unasked. An answer without a verdict is an error, never a zero: a
judge that fails has measured nothing. Answers are kept on disk by the content of the question, so a rerun asks nothing,
and what is asked several times at once is sent once. Left out: rubrics per domain, votes of several judges.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from pivotrl_cli.endpoint import Endpoint, EndpointSettings
from pivotrl_cli.model.chat import to_template
from pivotrl_cli.rows import Candidate, Message
from pivotrl_cli.verifiers import Verdict
from pivotrl_cli.verifiers.compare.basis import Basis

MAX_STATE_MESSAGES = 8
"""The judge sees the last messages of the state; equivalence seldom hangs on older ones."""
MAX_CHARACTERS = 6000
"""Of any one message; the middle is left out and marked."""

_INSTRUCTIONS = (
    "You compare two possible next actions of an assistant in the same situation. They are equivalent if they would "
    "have the same effect: the same tools with arguments that mean the same, or messages that tell the user the same "
    "and ask for the same. Wording, order of arguments and politeness do not matter; different facts, amounts, names, "
    "targets, or doing more or less do. Think briefly, then end with a last line that is exactly VERDICT: SAME or "
    "VERDICT: DIFFERENT."
)
_VERDICT = re.compile(r"^\W*VERDICT:\s*(SAME|DIFFERENT)\W*$", re.MULTILINE | re.IGNORECASE)


class JudgeError(RuntimeError):
    """The judge could not be asked, or its answer has no verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeSettings:
    """Which model judges, and what it may cost."""

    endpoint: EndpointSettings
    model: str
    max_calls: int | None = None
    """Requests that may be sent in this run; cached answers do not count."""
    cache: Path
    """SQLite file with the answers so far."""
    max_tokens: int = 1024


class Judge:
    """The verifier; counts what it asked."""

    def __init__(self, settings: JudgeSettings) -> None:
        self.settings = settings
        self.concurrency = settings.endpoint.concurrency
        self.usage = {"calls": 0, "cached": 0, "retries": 0, "prompt_tokens": 0, "completion_tokens": 0}
        self._server = Endpoint(settings.endpoint)
        self._cache = AnswerCache(settings.cache)
        self._lock = threading.Lock()
        self._question_locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()

    def __call__(self, candidate: Candidate, action: Message) -> Verdict:
        if _compared_parts(candidate.expected_action) == _compared_parts(action):
            return Verdict(1.0, "judge_same", "the same action", Basis.EQUAL)
        if not _says_same(self._ask(candidate, candidate.expected_action, action)):
            return Verdict(0.0, "judge_different", "the judge finds them different", Basis.JUDGED)
        if not _says_same(self._ask(candidate, action, candidate.expected_action)):
            reason = "the judge finds them equivalent in one order only"
            return Verdict(0.0, "judge_swap_disagrees", reason, Basis.JUDGED)
        return Verdict(1.0, "judge_same", basis=Basis.JUDGED)

    def close(self) -> None:
        self._server.close()
        self._cache.close()

    def _ask(self, candidate: Candidate, first: Message, second: Message) -> str:
        body = {
            "model": self.settings.model,
            "temperature": 0,
            "max_tokens": self.settings.max_tokens,
            "messages": [
                {"role": "system", "content": _INSTRUCTIONS},
                {"role": "user", "content": question(candidate, first, second)},
            ],
        }
        key = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        with self._lock:  # a thread with the same question waits and finds the answer in the cache
            question_lock = self._question_locks.setdefault(key, threading.Lock())
        with question_lock:
            known = self._cache.get(key)
            if known is not None:
                self._add_usage(cached=1)
                return known
            answer = self._request(body)
            _says_same(answer)  # raises where there is no verdict: such an answer is not cached
            self._cache.put(key, answer)
            return answer

    def _request(self, body: dict[str, Any]) -> str:
        with self._lock:
            if self.settings.max_calls is not None and self.usage["calls"] >= self.settings.max_calls:
                raise JudgeError(f"the budget of {self.settings.max_calls} judge calls is spent")
            self.usage["calls"] += 1
        reply = self._server.post("chat/completions", body)
        tokens = (reply.body or {}).get("usage") or {}
        self._add_usage(
            retries=reply.n_retries,
            **{name: int(tokens.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")},
        )
        if reply.error is not None:
            raise JudgeError(f"the judge did not answer: {reply.error}")
        try:
            content = (reply.body or {})["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError) as error:
            raise JudgeError("the judge's answer has no message") from error
        if not isinstance(content, str):
            raise JudgeError("the judge's answer has no text")
        return content

    def _add_usage(self, **more: int) -> None:
        with self._lock:
            for name, n in more.items():
                self.usage[name] += n


def question(candidate: Candidate, first: Message, second: Message) -> str:
    """The text of the state and the two actions that the judge reads."""
    situation = map(_message_text, candidate.state[-MAX_STATE_MESSAGES:])
    actions = "ACTION A", _message_text(first), "ACTION B", _message_text(second)
    return "\n\n".join(["SITUATION", *situation, *actions])


def _compared_parts(message: Message) -> tuple[str, list[tuple[str, str]]]:
    """The parts of an action that count, as they are written."""
    return message.content, [(call.name, call.arguments) for call in message.tool_calls]


def _message_text(message: Message) -> str:
    """One message without reasoning and ids of calls."""
    shaped = to_template(message)
    calls = [call["function"] for call in shaped.get("tool_calls", [])]
    text = shaped["content"] + "".join(f"\n{json.dumps(call, ensure_ascii=False, sort_keys=True)}" for call in calls)
    if len(text) > MAX_CHARACTERS:
        half = MAX_CHARACTERS // 2
        text = f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
    return f"{message.role}: {text.strip()}"


def _says_same(answer: str) -> bool:
    """The verdict in the last line that has one; raises `JudgeError` where none has."""
    verdicts = _VERDICT.findall(answer)
    if not verdicts:
        raise JudgeError(f"the judge's answer has no verdict: {answer[-120:]!r}")
    return bool(verdicts[-1].upper() == "SAME")


class AnswerCache:
    """Answers by the hash of their question, in one SQLite file that several threads and processes may share."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, timeout=60.0)
        self._database.execute("create table if not exists answers (question text primary key, answer text not null)")
        self._database.commit()

    def get(self, question: str) -> str | None:
        with self._lock:
            found = self._database.execute("select answer from answers where question = ?", (question,)).fetchone()
        return str(found[0]) if found else None

    def put(self, question: str, answer: str) -> None:
        """Store an answer; on return it is on disk."""
        with self._lock, self._database:
            self._database.execute("insert or replace into answers values (?, ?)", (question, answer))

    def close(self) -> None:
        self._database.close()
