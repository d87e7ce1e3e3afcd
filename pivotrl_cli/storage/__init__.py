"""What is on disk: validated tables, outputs that appear whole or not at all, work that can be resumed.

table          rows <-> Parquet, with provenance       arrow          Arrow types and columns of the row models
schema_check   is this Parquet file the table it must be?
files          streams, and outputs that appear whole  folders        output folders that do
journal        finished work of a run that may be killed
locks          one writer per output                   provenance     what made a table
"""
