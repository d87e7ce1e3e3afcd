"""Reading and comparing actions: what verifiers share, and where everything that all of them need is bounded.

    differences.py  categories, and a difference with its place and reason
    basis.py        what an acceptance rests on: equal, parsed, alike, judged
    calls.py        tool calls with parsed arguments; what a malformed demonstration raises
    messages.py     message or call: whole actions
    prose.py        two texts that say the same
    kinds.py        what kind of value a string is
    formal.py       SQL, filters, code, data, markup
    quantities.py   numbers, money, measures, dates
    names.py        names of people, identifiers
    language.py     the words of natural languages (words.toml)
    tables.py       words of schemas, units (kinds.toml)
    arguments.py    two argument values that mean the same, by the tool's schema
    parameters.py   what a tool's schema says of equality
    matching.py     pairing calls
    batches.py      several calls: f1
    similarity.py   how alike two long texts are
    coding.py       coding tools: kinds, and the keys of their arguments
    commands.py     command lines: shell.py reads them, programs.py their words by programs.toml
    edits.py        changes of files, by the grammar of the file
    python_code.py  Python by its syntax tree
    queries.py      search queries
    urls.py         addresses of pages
    terminus.py     messages of the Terminus harnesses

Nothing here raises on what a model wrote, and nothing executes it.
"""
