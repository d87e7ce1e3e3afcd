"""`python -m pivotrl_cli`."""

from pivotrl_cli.interface.cli import main

main()
