"""The command line and the Python API, both built from the configs.

commands  the table of commands                 api     the stages as Python functions
options   config fields as options and help      frames  frames and the files behind them
cli       the entry point
"""
