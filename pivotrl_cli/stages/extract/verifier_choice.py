"""Which verifier a turn gets: the one for its tool, else the one for its domain, else the default."""

from __future__ import annotations

from dataclasses import dataclass, field

from pivotrl_cli.configs import ExtractConfig
from pivotrl_cli.errors import ConfigError
from pivotrl_cli.rows import Message, Trajectory
from pivotrl_cli.verifiers import Verifier, load_verifier, rule_of


@dataclass
class VerifierChoice:
    """The verifiers that `--verifier` and `--verifier-for` name."""

    default: str
    by_key: dict[str, str]
    checks: dict[str, Verifier]
    """By name: the part that needs no judge, which a demonstration must pass."""
    _matched: set[str] = field(default_factory=set)

    @classmethod
    def from_config(cls, config: ExtractConfig) -> VerifierChoice:
        """Raises `ConfigError` on keys that are given twice and on unknown verifiers."""
        by_key: dict[str, str] = {}
        for text in config.verifier_for:
            key, _, name = text.partition("=")
            if not key or not name:
                raise ConfigError(f"--verifier-for {text}: not KEY=NAME", "such as --verifier-for airline=execute")
            if by_key.setdefault(key, name) != name:
                raise ConfigError(f"--verifier-for {key} is given twice", "name one verifier for each tool or domain")
        names = {config.verifier, *by_key.values()}
        return cls(config.verifier, by_key, {name: load_verifier(rule_of(name)) for name in names})

    def __call__(self, trajectory: Trajectory, action: Message) -> tuple[str, Verifier]:
        """Name and check; of several calls the first that has a verifier of its own decides."""
        keys = [*(call.name for call in action.tool_calls), trajectory.domain]
        key = next((key for key in keys if key in self.by_key), None)
        if key is None:
            return self.default, self.checks[self.default]
        self._matched.add(key)
        return self.by_key[key], self.checks[self.by_key[key]]

    def unused_keys(self) -> list[str]:
        """Keys of `--verifier-for` that no turn matched."""
        return sorted(self.by_key.keys() - self._matched)
