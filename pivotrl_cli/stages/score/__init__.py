"""`score`: recorded rollouts under other verifiers; `--audit` scores wrong actions made on purpose."""
