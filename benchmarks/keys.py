"""The keys of every load: 16 digits, so that sizes and order are the same for every system."""


def key_of(number: int) -> bytes:
    return b"%016d" % number
