"""How many voters are a majority: any two majorities of the same voters share a voter (Ongaro 2014, 3.4, 3.6.3)."""


def majority(voters: int) -> int:
    """The least number of `voters` that is a majority of them; 1 of none, which nobody reaches."""
    return voters // 2 + 1


def is_majority(count: int, voters: int) -> bool:
    """Whether `count` of `voters` are a majority. Never of no voters."""
    return count >= majority(voters)


def others_for_majority(voters: int) -> int:
    """How many others one of `voters` needs beside itself; 0 if it is the only one."""
    return majority(voters) - 1
