"""Other evaluation harnesses, each run as a subprocess in an environment of its own: their pins conflict with ours.

Nothing of a harness is imported; only files are exchanged, and an importer reads its results.

    harnesses.toml  the harnesses and the suites; a new harness is a new table there
    table.py        what that file may say
    commands.py     one harness's share of a run, and the commands that the templates become
    needs.py        what has to be there
"""
