"""How many examples a property test tries: a fixed few by default, many new ones with `make search`."""

from __future__ import annotations

from hypothesis import settings


def examples(n: int) -> settings:
    """As many as `n` by default, in proportion more where the profile has more than hypothesis' hundred."""
    return settings(max_examples=n * settings.default.max_examples // 100)
