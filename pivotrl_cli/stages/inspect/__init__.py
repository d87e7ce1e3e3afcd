"""`inspect`: a table, a run or a lineage in the terminal."""
