"""The command line and the Python API, both drawn from the configs.

cli      the commands          api      the same as Python functions
options  config fields as command-line options
"""
