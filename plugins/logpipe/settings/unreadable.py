"""What may come of reading JSON, or an object made of it, that somebody else may have written or broken."""

# Of another shape: a list for an object, a text for a number, nested without end, a number without end.
UNREADABLE = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    RecursionError,
)
