"""One file per trajectory format; `pivotrl_cli.readers.READERS` lists them."""
