"""The report of a sealed day: its figures, beside its manifest, as JSON and as a page of its own.

It holds addresses and lines, so it stands in the day's folder and goes when the day is forgotten.
"""
