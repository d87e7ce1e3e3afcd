"""One file per target of `pivotrl export`."""
