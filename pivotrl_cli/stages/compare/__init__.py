"""`compare`: evaluations side by side, paired by item."""
