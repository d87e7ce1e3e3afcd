# ruff: noqa: RUF001
"""Pairs of string arguments over all kinds: parameter, description, two values, whether they mean the same."""

from __future__ import annotations

import pytest

from pivotrl_cli.verifiers.compare.arguments import value_difference_at
from pivotrl_cli.verifiers.compare.parameters import Shape

T, F = True, False
ANYDATE = "Date, in any common notation"
ROWS = [
    # sql
    ("sql", "query", "", "SELECT a, b FROM t WHERE x = 1 AND y = 2", "select a,b from t where y=2 and x=1;", T),
    ("sql", "query", "", "SELECT u.name FROM users u WHERE u.age > 30", "SELECT name FROM users WHERE 30 < age", T),
    ("sql", "query", "", "SELECT * FROM a ORDER BY x", "SELECT * FROM a ORDER BY x ASC", T),
    (
        "sql",
        "query",
        "",
        "SELECT o.id FROM orders o JOIN items i ON o.id = i.oid",
        "SELECT x.id FROM orders AS x INNER JOIN items AS y ON y.oid = x.id",
        T,
    ),
    ("sql", "query", "", "SELECT * FROM a WHERE x <> 1", "SELECT * FROM a WHERE x != 1", T),
    ("sql", "query", "", "SELECT * FROM a WHERE x BETWEEN 1 AND 5", "SELECT * FROM a WHERE x >= 1 AND x <= 5", T),
    ("sql", "query", "", "SELECT * FROM a WHERE x IN (1,2)", "SELECT * FROM a WHERE x IN (2, 1)", T),
    ("sql", "query", "", "SELECT a FROM t ORDER BY a DESC", "SELECT a FROM t ORDER BY a", F),
    ("sql", "query", "", "SELECT a FROM t LIMIT 10", "SELECT a FROM t LIMIT 100", F),
    ("sql", "query", "", "SELECT a FROM t WHERE a > 3", "SELECT a FROM t WHERE a >= 3", F),
    ("sql", "query", "", "SELECT a FROM t WHERE NOT done", "SELECT a FROM t WHERE done", F),
    ("sql", "query", "", "SELECT a FROM t WHERE n = 'Bob'", "SELECT a FROM t WHERE n = 'bob'", F),
    ("sql", "query", "", "SELECT a FROM t WHERE a=1 AND b=2", "SELECT a FROM t WHERE a=1 OR b=2", F),
    ("sql", "query", "", "SELECT a, b FROM t", "SELECT b, a FROM t", F),
    ("sql", "query", "", "SELECT SUM(a) FROM t", "SELECT AVG(a) FROM t", F),
    ("sql", "query", "", "SELECT a FROM t LEFT JOIN u ON t.i=u.i", "SELECT a FROM t JOIN u ON t.i=u.i", F),
    ("sql", "query", "", "SELECT a FROM t UNION SELECT a FROM u", "SELECT a FROM t UNION ALL SELECT a FROM u", F),
    # filters
    ("flt", "filter", "", "status = open AND priority = high", "priority = high AND status = open", T),
    (
        "flt",
        "jql",
        "",
        'project = OPS AND status = "In Progress" ORDER BY created DESC',
        "project=OPS and status='In Progress' order by created desc",
        T,
    ),
    ("flt", "filter", "", "age >= 18 && city == 'Oslo'", 'city == "Oslo" and age >= 18', T),
    ("flt", "filter", "", "price gt 10 and stock eq 0", "stock eq 0 and price gt 10", T),
    ("flt", "q", "", "is:open label:bug author:ann", "label:bug is:open author:ann", T),
    (
        "flt",
        "jql",
        "",
        "project is OPS and status is open order by created",
        "project is OPS and status is closed order by created",
        F,
    ),
    ("flt", "filter", "", "age >= 18 and city == 'Oslo'", "age > 18 and city == 'Oslo'", F),
    ("flt", "filter", "", "a = 1 and b = 2 or c = 3", "a = 1 and (b = 2 or c = 3)", F),
    ("flt", "filter", "", "status != done", "status = done", F),
    ("flt", "filter", "", "not archived and owner = me", "archived and owner = me", F),
    ("flt", "q", "", "is:open label:bug", "is:closed label:bug", F),
    ("flt", "filter", "", "price lt 10", "price gt 10", F),
    # python
    ("py", "code", "", "if ready:\n    start()\nstop()\n", "if ready:\n    start()\n    stop()\n", F),
    ("py", "text", "", "if ready:\n    start()\nstop()\n", "if ready:\n    start()\n    stop()\n", F),
    ("py", "code", "", "x = {'a':1}\nprint(x)", 'x = {"a": 1}  # data\nprint( x )', T),
    ("py", "code", "", "def f(a,b):\n  return a+b", "def f(a, b):\n    return (a + b)", T),
    ("py", "code", "", "print(sum(x))", "print(sum(y))", F),
    ("py", "code", "", "x = a - b", "x = b - a", F),
    ("py", "code", "", "for i in range(10):\n    print(i)", "for i in range(10): print(i)", T),
    ("js", "code", "JavaScript", "function f(a){return a;}", "function f(a) {\n  return a;\n}", T),
    ("js", "code", "JavaScript", "let x = a && b;", "let x = a || b;", F),
    # data
    ("cfg", "config", "", "a: 1\nb:\n  c: 2\n", "b: {c: 2}\na: 1\n", T),
    ("cfg", "config", "", "a: 1\nb:\n  c: 2\nd: 3\n", "a: 1\nb:\n  c: 2\n  d: 3\n", F),
    ("cfg", "text", "", "server:\n  port: 80\n  host: a\n", "server:\n  host: a\n  port: 80\n", T),
    ("cfg", "content", "", "[web]\nport = 80\nhost = a\n", "[web]\nhost=a\nport=80\n", T),
    ("cfg", "content", "", "PORT=80\nHOST=a\n", "HOST=a\nPORT=80\n", T),
    ("cfg", "content", "", "PORT=80\nHOST=a\n", "PORT=81\nHOST=a\n", F),
    ("cfg", "content", "", '[a]\nx = "1"\n[b]\ny = 2\n', '[b]\ny = 2\n\n[a]\nx = "1"\n', T),
    ("cfg", "content", "", '{"a": 1, "b": [1, 2]}', '{"b":[1,2],"a":1.0}', T),
    ("cfg", "content", "", '{"a": 1, "b": [1, 2]}', '{"b":[2,1],"a":1}', F),
    ("cfg", "content", "", "debug: true\nlevel: info\n", "debug: false\nlevel: info\n", F),
    ("cfg", "csv", "", "a,b\n1,2\n", "a, b\n1, 2", T),
    ("cfg", "html", "", '<p class="a" id="b">Hi  there</p>', "<p id='b' class='a'>Hi there</p>", T),
    ("cfg", "html", "", '<p class="a">Hi</p>', '<p class="b">Hi</p>', F),
    ("cfg", "makefile", "", "a: b\n\tcc a\n", "a: b\n        cc a\n", F),
    # urls
    ("url", "url", "", "HTTPS://Example.com:443", "https://example.com/", T),
    ("url", "url", "", "https://e.com/a?x=1&y=2", "https://e.com/a?y=2&x=1", T),
    ("url", "url", "", "https://e.com/a%20b", "https://e.com/a b", F),
    ("url", "url", "", "https://e.com/%7Ea", "https://e.com/~a", T),
    ("url", "url", "", "https://e.com/a", "https://e.com/b", F),
    ("url", "url", "", "https://e.com/a?x=1", "https://e.com/a?x=2", F),
    ("url", "url", "", "https://api.e.com/a", "https://app.e.com/a", F),
    ("url", "url", "", "http://e.com/A", "http://e.com/a", F),
    # ids
    ("id", "order_id", "Order id, with or without the leading #", "A17", "#A17", T),
    ("id", "order_id", "Order number; the prefix ORD- is optional", "ORD-0017", "0017", T),
    ("id", "card", "Card number; spaces are ignored", "4111 1111 1111 1111", "4111111111111111", T),
    ("id", "iban", "IBAN, spaces optional", "DE89 3704 0044", "DE8937040044", T),
    ("id", "sku", "SKU, case-insensitive", "ab-17", "AB-17", T),
    ("id", "order_id", "Order id, with or without the leading #", "A17", "#A71", F),
    ("id", "order_id", "", "A17", "a17", F),
    ("id", "order_id", "", "A17", "#A17", F),
    ("id", "ticket", "The ticket number", "4411", "4412", F),
    ("id", "seat", "Seat", "12A", "12B", F),
    ("id", "sku", "SKU, case-insensitive", "ab-17", "AB-71", F),
    ("phone", "phone", "Phone number, any format", "+46 70 123 45 67", "+46701234567", T),
    ("phone", "phone", "Phone number", "(555) 123-4567", "555-123-4567", T),
    ("phone", "phone", "Phone number", "(555) 123-4567", "555-123-4568", F),
    # dates
    ("date", "date", ANYDATE, "2026-03-05", "March 5, 2026", T),
    ("date", "date", ANYDATE, "2026-03-05", "5 Mar 2026", T),
    ("date", "date", ANYDATE, "2026-03-05", "5th of March 2026", T),
    ("date", "time", "Time of day, 12- or 24-hour clock", "15:00", "3 pm", T),
    ("date", "time", "Time of day, any notation", "15:00", "3:00 PM", T),
    ("date", "time", "Time of day, any notation", "15:00", "3:00 AM", F),
    ("date", "date", ANYDATE, "2026-03-05", "May 3, 2026", F),
    ("date", "date", ANYDATE, "2026-03-05", "March 5, 2025", F),
    ("date", "date", ANYDATE, "2026-03-05", "2026-03-06", F),
    ("date", "date", "YYYY-MM-DD", "2026-03-05", "March 5, 2026", F),
    ("date", "when", "Date and time, any format", "2026-03-05 15:00", "March 5, 2026 3pm", T),
    ("date", "date", "", "2026-03-05", "2026-03-06", F),
    # units, money, numbers
    ("unit", "weight", "Weight with unit", "2 kg", "2000 g", T),
    ("unit", "weight", "Weight with unit", "2 kg", "2 lb", F),
    ("unit", "duration", "Duration, e.g. 90 min or 1.5 h", "90 minutes", "1.5 hours", T),
    ("unit", "duration", "Duration, e.g. 90 min or 1.5 h", "1h 30min", "90 min", T),
    ("unit", "duration", "Duration, any unit", "an hour", "60 minutes", T),
    ("unit", "length", "Length with unit", "180 cm", "1.8 m", T),
    ("unit", "length", "Length with unit", "180 cm", "180 mm", F),
    ("unit", "temp", "Temperature with unit", "20°C", "20 celsius", T),
    ("unit", "temp", "Temperature with unit", "20°C", "20°F", F),
    ("unit", "size", "Size with unit", "1 GB", "1000 MB", T),
    ("money", "amount", "Amount with currency", "$12.50", "12.50 USD", T),
    ("money", "amount", "Amount with currency", "12.5 euros", "€12.50", T),
    ("money", "amount", "Amount with currency", "$12.50", "€12.50", F),
    ("money", "amount", "Amount with currency", "$12.50", "$12.05", F),
    ("num", "count", "Number of seats, in words or digits", "three", "3", T),
    ("num", "count", "Number of seats, in words or digits", "three", "2", F),
    ("num", "count", "A number", "1,000", "1000", T),
    ("num", "count", "A number; thousands separators are accepted", "1 250 000", "1250000", T),
    ("num", "count", "A number", "1,000", "100", F),
    ("num", "count", "Number, any notation", "twenty-five", "25", T),
    ("num", "pct", "A percentage", "50%", "50 percent", T),
    ("num", "pct", "A percentage", "50%", "5%", F),
    # names
    ("name", "name", "", "Anna Berg", "anna berg", T),
    ("name", "customer_name", "Full name of the customer", "Dr. Anna Berg", "Anna Berg", T),
    ("name", "customer_name", "Full name", "Berg, Anna", "Anna Berg", T),
    ("name", "customer_name", "Full name", "José García", "Jose Garcia", T),
    ("name", "customer_name", "Full name", "Jürgen Müller", "Juergen Mueller", T),
    ("name", "names", "", "Anna Berg, Peter Lund", "Peter Lund, Anna Berg", T),
    ("name", "names", "", "Anna Berg, Peter Lund, Maria Holm", "Anna Berg, Peter Lund, Johan Holm", F),
    ("name", "name", "", "Anna Berg", "Anna Bergman", F),
    ("name", "name", "", "Maria Holm", "Johan Holm", F),
    ("name", "customer_name", "Full name", "Anna Berg", "A. Berg", F),
    ("name", "address", "Street address", "Main Street 5 Flat B", "Main Street 5 Flat C", F),
    ("name", "city", "", "New York", "new york", T),
    ("name", "city", "", "New York", "New Orleans", F),
    # prose
    *[
        ("prose", "note", "", a, b, x)
        for a, b, x in [
            ("Please book three seats on the morning flight", "Book 3 seats on the morning flight, please.", T),
            ("Please book three seats on the morning flight", "Please book two seats on the morning flight", F),
            ("Please book three seats on the morning flight", "Please book three seats on the evening flight", F),
            ("The order doesn't include the charger", "The order does not include the charger.", T),
            ("The order doesn't include the charger", "The order includes the charger", F),
            ("Travel from Oslo to Bergen on Friday", "Travel from Bergen to Oslo on Friday", F),
            ("Travel from Oslo to Bergen on Friday", "On Friday, travel to Bergen from Oslo", T),
            ("Anna owes Peter 20 dollars", "Peter owes Anna 20 dollars", F),
            ("The manager approved the employee's request", "The employee approved the manager's request", F),
            ("Tomorrow I will send the invoice", "I'll send the invoice tomorrow.", T),
            (
                "Send the invoice to my new address as soon as possible, thanks",
                "Kindly send the invoice to my new address soon.",
                T,
            ),
            ("Buy milk, eggs and bread", "Buy bread, eggs and milk", T),
            ("Deliver to Flat B, ring twice", "Deliver to Flat C, ring twice", F),
            ("The meeting is on Tuesday at noon in room 4", "The meeting is on Thursday at noon in room 4", F),
            ("Customer wants a refund for the blue jacket", "Customer wants a refund for the red jacket", F),
            ("Close the ticket after the customer confirms", "Close the ticket before the customer confirms", F),
            ("Turn on the heating in the kitchen", "Turn off the heating in the kitchen", F),
            (
                "Bitte schicken Sie die Rechnung an meine neue Adresse",
                "Senden Sie die Rechnung bitte an meine neue Anschrift.",
                T,
            ),
            ("Bitte buchen Sie drei Plätze", "Bitte buchen Sie zwei Plätze", F),
            ("Der Kunde hat nicht bezahlt", "Der Kunde hat bezahlt", F),
            ("Das Treffen ist morgen um 10 Uhr", "Morgen um 10 Uhr ist das Treffen", T),
            ("Die Fahrt geht von Wien nach Graz", "Die Fahrt geht von Graz nach Wien", F),
            ("请尽快把发票寄到我的新地址谢谢", "请尽快将发票寄到我的新地址，谢谢", T),
            ("请尽快把发票寄到我的新地址谢谢", "请尽快把发票寄到我的旧地址谢谢", F),
            ("我明天下午三点到", "明天下午3点我到。", T),
            ("我明天下午三点到", "我明天下午四点到", F),
            ("张三欠李四一百元", "李四欠张三一百元", F),
            ("客户没有付款", "客户付款了", F),
            ("会議は明日の午後3時に始まります", "会議は明日の午後3時に始まります。", T),
            ("会議は明日の午後3時に始まります", "明日の午後三時に会議が始まります。", T),
            ("会議は明日の午後3時に始まります", "会議は明日の午後4時に始まります", F),
            ("新しい住所に請求書を送ってください", "請求書を新しい住所に送付してください。", T),
            ("支払いは完了しました", "支払いは完了していません", F),
            ("東京から大阪へ行きます", "大阪から東京へ行きます", F),
            ("يرجى إرسال الفاتورة إلى عنواني الجديد", "من فضلك إرسال الفاتورة إلى عنواني الجديد.", T),
            ("يرجى إرسال الفاتورة إلى عنواني الجديد", "يرجى إرسال الفاتورة إلى عنواني القديم", F),
            ("لم يصل الطرد", "وصل الطرد", F),
            ("Envíe la factura a mi nueva dirección, por favor", "Por favor, envíe la factura a mi nueva dirección", T),
            ("Le client n'a pas payé la facture", "Le client a payé la facture", F),
        ]
    ],
]


@pytest.mark.parametrize(("kind", "name", "description", "left", "right", "same"), ROWS)
def test_values_mean_the_same(kind: str, name: str, description: str, left: str, right: str, same: bool) -> None:
    schema = {"type": "object", "properties": {name: {"type": "string", "description": description}}}
    shape = Shape(schema, schema).key(name)
    assert (value_difference_at(left, right, shape) is None) == same
    assert (value_difference_at(right, left, shape) is None) == same
    assert value_difference_at(left, left, shape) is None


@pytest.mark.parametrize(
    "text", ["(" * 20_000, "x" * 49_000, "\n" * 40_000 + "x", "a:b " * 10_000, "\ud800", "SELECT " + "(" * 90]
)
@pytest.mark.parametrize("name", ["text", "query", "filter", "code", "config", "path"])
def test_any_text_gets_an_answer(text: str, name: str) -> None:
    shape = Shape({"properties": {name: {"type": "string", "description": "Any"}}}, {}).key(name)
    assert value_difference_at(text, text[1:] + "z", shape) is not None
