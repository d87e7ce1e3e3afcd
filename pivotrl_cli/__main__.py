"""`python -m pivotrl_cli`."""

from pivotrl_cli.cli import main

main()
