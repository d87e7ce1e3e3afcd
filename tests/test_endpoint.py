from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest
from faulty_server import faulty_server

from pivotrl_cli import endpoint
from pivotrl_cli.endpoint import Endpoint, EndpointSettings, Reply, in_parallel
from pivotrl_cli.errors import ConfigError


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(endpoint, "_FIRST_WAIT", 0.001)


def echo(path, body):
    return {"path": path, "got": body}


def test_an_answer_is_its_body_and_the_key_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("TEST_KEY", "sesame")
    with (
        faulty_server(echo, lambda i: None) as (url, seen),
        Endpoint(EndpointSettings(base_url=url, key_variable="TEST_KEY")) as server,
    ):
        assert server.post("chat/completions", {"a": 1}) == Reply({"path": "/v1/chat/completions", "got": {"a": 1}})
    assert seen == [{"path": "/v1/chat/completions", "body": {"a": 1}, "authorization": "Bearer sesame"}]


@pytest.mark.parametrize("fault", ["429", "500", "503", "garbage", "cut", "drop"])
def test_what_may_pass_is_tried_again_and_counted(fault):
    with (
        faulty_server(echo, lambda i: fault if i < 2 else None) as (url, seen),
        Endpoint(EndpointSettings(base_url=url)) as server,
    ):
        assert server.post("x", {}) == Reply({"path": "/v1/x", "got": {}}, None, 2)
    assert len(seen) == 3


def test_a_refusal_is_not_tried_again():
    with faulty_server(echo, lambda i: "400") as (url, seen), Endpoint(EndpointSettings(base_url=url)) as server:
        reply = server.post("x", {})
    assert (reply.body, reply.n_retries, len(seen)) == (None, 0, 1)
    assert reply.error is not None
    assert reply.error.startswith("HTTP 400: ")


def test_the_last_error_is_the_value_when_the_tries_are_spent():
    settings = {"max_retries": 3}
    with (
        faulty_server(echo, lambda i: "500") as (url, seen),
        Endpoint(EndpointSettings(base_url=url, **settings)) as server,
    ):
        reply = server.post("x", {})
    assert (reply.body, reply.n_retries, len(seen)) == (None, 3, 4)


def test_a_server_that_is_not_there_is_an_error_value():
    with Endpoint(EndpointSettings(base_url="http://127.0.0.1:9/v1", max_retries=1)) as server:
        reply = server.post("x", {})
    assert reply.body is None
    assert reply.error is not None
    assert reply.error.startswith("ConnectError")


def test_a_server_that_was_there_is_waited_for():
    with faulty_server(echo, lambda i: "drop" if i else None) as (url, _):
        server = Endpoint(EndpointSettings(base_url=url, max_retries=2))
        assert server.get("models") == Reply({"path": "/v1/models", "got": {}})
    with server:
        reply = server.post("x", {})
    assert (reply.body, reply.n_retries) == (None, 2)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": {"message": "no\nsuch model", "code": 404}}, "HTTP 404: no such model"),
        ({"error": "Unauthorized"}, "HTTP 404: Unauthorized"),
        ({"object": "error", "message": "no"}, "HTTP 404: no"),
        ({"detail": "Not Found"}, 'HTTP 404: {"detail": "Not Found"}'),
    ],
)
def test_a_refusal_is_in_the_servers_words(body, words):
    with (
        faulty_server(lambda path, _: (404, body), lambda i: None) as (url, _),
        Endpoint(EndpointSettings(base_url=url)) as server,
    ):
        assert server.post("x", {}) == Reply(None, words, 0, 404)


def test_an_error_with_status_200_is_an_error():
    answer = {"error": {"message": "upstream is down"}}
    with (
        faulty_server(lambda path, _: answer, lambda i: None) as (url, _),
        Endpoint(EndpointSettings(base_url=url, max_retries=1)) as server,
    ):
        assert server.post("x", {}) == Reply(None, "the answer is an error: upstream is down", 1)


def test_a_key_that_the_server_repeats_is_cut_out(monkeypatch):
    monkeypatch.setenv("TEST_KEY", "sesame\n")
    answer = {"error": {"message": "bad key: sesame"}}
    with (
        faulty_server(lambda path, _: (401, answer), lambda i: None) as (url, seen),
        Endpoint(EndpointSettings(base_url=url, key_variable="TEST_KEY")) as server,
    ):
        assert server.post("x", {}) == Reply(None, "HTTP 401: bad key: ***", 0, 401)
    assert seen[0]["authorization"] == "Bearer sesame"


def test_a_key_that_no_header_can_carry_is_not_shown(monkeypatch):
    monkeypatch.setenv("TEST_KEY", "ses\name")
    with pytest.raises(ConfigError) as error:
        Endpoint(EndpointSettings(base_url="http://127.0.0.1:9/v1", key_variable="TEST_KEY"))
    assert error.value.message == "TEST_KEY: the key has characters that no header can carry"


@pytest.mark.parametrize("address", ["127.0.0.1:8000/v1", "localhost", "ftp://host/v1", "http://", "http://[::1"])
def test_what_is_no_address_is_a_config_error(address):
    with pytest.raises(ConfigError, match="not an address"):
        Endpoint(EndpointSettings(base_url=address))


def test_many_requests_come_back_through_faults():
    with (
        faulty_server(echo, lambda i: "503" if i % 3 == 0 else None) as (url, _),
        Endpoint(EndpointSettings(base_url=url)) as server,
    ):
        replies = list(in_parallel(lambda i: server.post("x", {"i": i}), range(40), 8))
    assert sorted(r.body["got"]["i"] for r in replies if r.body) == list(range(40))
    assert sum(r.n_retries for r in replies) > 0


def test_parallel_calls_are_bounded_and_results_come_as_they_are_ready():
    gates = [threading.Event() for _ in range(6)]
    started: SimpleQueue[int] = SimpleQueue()

    def call(i: int) -> int:
        started.put(i)
        assert gates[i].wait(10)
        return i

    results = in_parallel(call, iter(range(6)), 2)
    gates[1].set()
    assert next(results) == 1
    assert sorted(started.get() for _ in range(3)) == [0, 1, 2]
    assert started.empty()
    for gate in gates:
        gate.set()
    assert sorted(results) == [0, 2, 3, 4, 5]


def test_what_a_parallel_call_raises_is_raised_to_the_reader():
    with pytest.raises(ZeroDivisionError):
        list(in_parallel(lambda i: 1 // i, [1, 0], 2))
    assert list(in_parallel(str, [], 2)) == []
