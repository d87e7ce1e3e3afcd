"""What is on disk: validated tables, outputs that appear whole or not at all, work that can be resumed.

table          Parquet -> rows                          table_writer   rows -> Parquet, with provenance
arrow          Arrow types and columns of row models    conform        Arrow data of other writers, in those types
schema_check   is this Parquet file the expected table?
files          streams, and files that appear whole     folders        output folders that do
journal        finished work of a run that may be killed
locks          one writer per output                    provenance     what made a table
"""
