"""`eval`: a policy on benchmarks. `run` plays the episodes, `summary` makes the scores."""
