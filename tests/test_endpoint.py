from __future__ import annotations

import pytest
from faulty_server import faulty_server

from pivotrl_cli import endpoint
from pivotrl_cli.endpoint import Endpoint, EndpointSettings, Reply


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


def test_many_requests_come_back_in_order_through_faults():
    bodies = [{"i": i} for i in range(40)]
    with (
        faulty_server(echo, lambda i: "503" if i % 3 == 0 else None) as (url, _),
        Endpoint(EndpointSettings(base_url=url, concurrency=8)) as server,
    ):
        replies = list(server.post_all("x", bodies))
    assert [r.body["got"] for r in replies if r.body] == bodies
    assert sum(r.n_retries for r in replies) > 0
