from __future__ import annotations

import pytest
from verifiers_actions import call, calls, says, score

from pivotrl_cli.verifiers import Verdict
from pivotrl_cli.verifiers.compare.queries import Query, query_difference, read_query
from pivotrl_cli.verifiers.compare.urls import normal_url, url_difference


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ("Python async tutorial", "tutorial async python"),
        ("what is the capital of France", "capital France"),
        ('2021 "deep sea" fish site:NOAA.gov/', 'fish "Deep  Sea" 2021 site:https://www.noaa.gov'),
        ("nobel prize physics 1921 winner", "who was the winner of the nobel prize physics 1921"),
        ("jaguar -car", "-car jaguar"),
        ("the who", "The Who"),
        ("東京 天気", "天気 東京"),
        ('"a"', " \u201ca\u201d"),
        ("", " "),
        ("best restaurants in Rome", "best restaurant Rome"),
        ("population of Brazil 2020", "Brazil population 2020"),
        ("how to install docker on ubuntu", "install docker ubuntu"),
        ("what is the height of Mount Everest?", "Mount Everest height"),
        ("who wrote Dune", "Dune who wrote it"),
        ("flights from Paris to London", "flights to London from Paris"),
        ("Python list comprehension tutorial", "tutorial: python list comprehensions"),
        ("climate change effects on agriculture", "effects of climate change on agriculture"),
        ('"machine learning" site:arxiv.org', 'site:arxiv.org "Machine Learning"'),
        ("nvidia stock price", "Nvidia's stock price"),
        ("the history of Rome", "history of rome"),
        ("COVID-19 vaccine side effects", "covid-19 vaccine side-effects"),
        ("movies directed by Christopher Nolan", "Christopher Nolan directed movies"),
        ("cheap hotels near Central Park New York", "New York cheap hotels near Central Park"),
        ("list of US presidents", "US presidents list"),
        ("when did World War II end", "World War II end when"),
        ("site:github.com python -java", "python site:github.com -java"),
        ("iphone 15 vs iphone 14", "iphone 14 vs iphone 15"),
        ("capital of australia", "Capital of Australia?"),
        ("What are the symptoms of diabetes", "symptoms of diabetes"),
        ("Barack Obama birthplace", "birthplace of Barack Obama"),
        ("weather in Berlin tomorrow", "weather tomorrow in Berlin"),
        ("react hooks useEffect cleanup", "useEffect cleanup react hooks"),
        ("convert 10 miles to km", "convert 10 miles to km "),
        ("number of employees at Tesla", "Tesla number of employees"),
        ("Champions League 2019 winner", "winner of the Champions League 2019"),
        ("how do I reset my iPhone", "how to reset iPhone"),
        ("where is the Eiffel Tower located", "Eiffel Tower located where"),
        ("latest news about Ukraine", "Ukraine latest news"),
        ("GDP of Japan in 2022", "Japan GDP 2022"),
        ("recipe for apple pie", "apple pie recipe"),
        ("is coffee bad for you", "coffee bad for you"),
        ("C++ smart pointers", "smart pointers c++"),
        ("U.S. unemployment rate", "US unemployment rate"),
    ],
)
def test_queries_that_ask_the_same(expected: str, actual: str) -> None:
    assert query_difference(expected, actual) is None
    assert query_difference(actual, expected) is None


@pytest.mark.parametrize(
    ("expected", "actual", "detail"),
    [
        ("python async tutorial", "best pizza recipe", "one of them lacks 'async', 'best', 'pizza' and 3 more"),
        ("nobel prize 1921", "nobel prize 1922", "one of them lacks '1921', '1922'"),
        ('"deep sea" fish', "deep sea fish", "one of them lacks 'deep', 'deep sea', 'sea'"),
        ("fish site:noaa.gov", "fish site:bbc.com", "one of them lacks 'site:bbc.com', 'site:noaa.gov'"),
        ("jaguar -car", "jaguar car", "one of them lacks '-car', 'car'"),
        ("fish", "fish " + "and more words " * 1_000, "expected 4 characters, got 15005"),
        ("fish", "", "one of them lacks 'fish'"),
    ],
)
def test_queries_that_do_not(expected: str, actual: str, detail: str) -> None:
    difference = query_difference(expected, actual)
    assert difference is not None
    assert difference.detail == detail
    assert query_difference(actual, expected) is not None


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ("best restaurants in Rome", "best restaurants in Milan"),
        ("population of Brazil 2020", "population of Brazil 2021"),
        ("who wrote Dune", "who directed Dune"),
        ("flights from Paris to London", "flights from London to Paris"),
        ("iphone 15 review", "iphone 14 review"),
        ("causes of WWI", "causes of WWII"),
        ("C++ smart pointers", "C smart pointers"),
        ("C# tutorial", "C++ tutorial"),
        ("symptoms of type 1 diabetes", "symptoms of type 2 diabetes"),
        ("largest city in Texas", "smallest city in Texas"),
        ("python -java", "python java"),
        ('"deep sea" fish', '"sea deep" fish'),
        ("site:bbc.com brexit", "site:cnn.com brexit"),
        ("foods high in iron", "foods low in iron"),
        ("movies before 1990", "movies after 1990"),
        ("convert miles to km", "convert km to miles"),
        ("when was Obama born", "where was Obama born"),
        ("with dairy", "without dairy"),
        ("Apple revenue 2021", "Apple profit 2021"),
        ("buy house or rent", "rent"),
        ("cats OR dogs", "cats dogs"),
        ("Manchester United coach", "Manchester City coach"),
        ("first president of USA", "second president of USA"),
        ("capital of France", "population of France"),
        ("not safe for dogs", "safe for dogs"),
        ("java streams", "javascript streams"),
        ("translate English to German", "translate German to English"),
        ("how old is Tom Hanks", "how tall is Tom Hanks"),
        ("winner of 2018 world cup", "winner of 2022 world cup"),
        ("", "a"),
        ("install node 18 on mac", "install node 20 on mac"),
        ("north korea gdp", "south korea gdp"),
        ("max temperature", "min temperature"),
        ("python 2 to 3", "python 3 to 2"),
        ("filetype:pdf tax", "filetype:doc tax"),
        ("intitle:apple", "intitle:pear"),
        ("parents of Obama", "children of Obama"),
        ("how many people live in Oslo", "how many people died in Oslo"),
    ],
)
def test_queries_that_ask_for_something_else(expected: str, actual: str) -> None:
    assert query_difference(expected, actual) is not None
    assert query_difference(actual, expected) is not None


def test_a_query_in_parts() -> None:
    text = '2021 the fish "Deep Sea" site:NOAA.gov/ filetype:PDF -boat'
    operators = frozenset({"site:noaa.gov", "filetype:pdf", "-boat"})
    assert read_query(text) == Query(frozenset({"deep sea"}), operators, frozenset({"2021", "fish"}), frozenset(), {})


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://Example.COM/Docs/", "//example.com/Docs"),
        ("http://example.com:80", "//example.com"),
        ("https://example.com:443/", "//example.com"),
        ("http://example.com:8080/", "//example.com:8080"),
        ("https://example.com./a#part", "//example.com/a"),
        ("https://example.com/#!/inbox", "//example.com#!/inbox"),
        ("https://example.com/a?b=2&a=1&utm_source=x&gclid=y", "//example.com/a?a=1&b=2"),
        ("https://example.com/?q=a+b", "//example.com?q=a%20b"),
        ("https://example.com/%7Ea%2fb/%e9", "//example.com/~a%252Fb/%EF%BF%BD"),
        (" example.com/a ", "//example.com/a"),
        ("ftp://example.com/a", "//ftp:example.com/a"),
        ("http://[bad", "http://[bad"),
        ("https://a.org/?\ud800", "https://a.org/?\ud800"),
    ],
)
def test_one_spelling_of_an_address(url: str, normal: str) -> None:
    assert normal_url(url) == normal


@pytest.mark.parametrize(
    "other",
    [
        "https://a.org/x?id=2",
        "https://a.org/X?id=1",
        "https://b.org/x?id=1",
        "https://a.org/x",
        "https://a.org/x?id=1&id=2",
        "https://a.org/x?id=1#/other",
    ],
)
def test_another_page(other: str) -> None:
    assert url_difference("https://a.org/x?id=1", other) is not None


def test_search_calls() -> None:
    expected = calls(call("search", query="capital of France", limit=10))
    assert score("search", expected, calls(call("search", query="France capital", limit=10.0))) == Verdict(
        1.0, "expected_tool_call"
    )
    assert score("search", expected, calls(call("search", query="France capital", limit=5))).category == (
        "argument_value_different"
    )
    assert score("search", expected, calls(call("search", query="capital of Spain", limit=10))) == Verdict(
        0.0, "query_different", "query: one of them lacks 'france', 'spain'"
    )
    assert score("search", expected, calls(call("search", query=["capital of France"], limit=10))).category == (
        "argument_value_type_different"
    )
    assert score("search", expected, calls(call("find", query="capital of France", limit=10))).reward == 0.0


def test_pages_under_any_key_and_lists_in_any_order() -> None:
    expected = calls(call("open", where=["https://a.org/x", "https://b.org"], q=["red fish", "blue bird"]))
    same = calls(call("open", where=["http://b.org/", "http://A.org/x#top"], q=["bird blue", "fish red"]))
    assert score("search", expected, same).reward == 1.0
    other = calls(call("open", where=["https://a.org/x", "https://c.org"], q=["red fish", "blue bird"]))
    assert score("search", expected, other) == Verdict(
        0.0, "url_different", "where: expected 'https://b.org', got 'https://c.org'"
    )
    fewer = calls(call("open", where=["https://a.org/x"], q=["red fish", "blue bird"]))
    assert score("search", expected, fewer).category == "argument_list_length_different"


def test_search_messages_and_surplus() -> None:
    assert score("search", says("It is Paris."), says("it is paris")).reward == 1.0
    query = call("search", query="capital of France")
    assert score("search", calls(query), calls(query, call("search", query="pizza"))).reward == 2 / 3
