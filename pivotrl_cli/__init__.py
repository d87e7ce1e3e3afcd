"""PivotRL: find the turns of recorded agent runs that are worth training on, and train on those alone."""

import os

os.environ.setdefault("MIMALLOC_PURGE_DELAY", "0")  # before Arrow is loaded: it gives back at once what it freed
