"""Formats of access logs, given in the servers' own words.

`compiler.compile_format` takes a preset's name, an Apache ``LogFormat``, an nginx ``log_format``, the
``#Fields`` line of a W3C log, or a map of JSON fields. The format's `parse_line` is the definition, plain
Python that needs no polars; `columns.Columns` gives the same for a column of lines, in native code wherever a
line is regular.
"""
