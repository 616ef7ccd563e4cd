"""A promise is broken."""


class Violation(Exception):
    """The text says which promise, when and where."""
