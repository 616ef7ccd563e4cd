"""What a fuzz makes of sound bytes."""

import random


def bent(dice: random.Random, data: bytes) -> bytes:
    """Cut, stretched, or with a few of its bits turned."""
    bent = bytearray(data)
    for _ in range(dice.randrange(1, 4)):
        match dice.randrange(4):
            case 0:
                del bent[dice.randrange(len(bent) + 1) :]
            case 1:
                bent += dice.randbytes(dice.randrange(9))
            case _ if bent:
                bent[dice.randrange(len(bent))] ^= 1 << dice.randrange(8)
    return bytes(bent)
