"""Every limit that a caller can meet, with its unit. Beyond one of them: INVALID_ARGUMENT, naming it.

What the state machine refuses must be the same on every node, whatever release it runs, so those limits belong to the
format of the log and the store: a table of them has a number, the store's header holds the number, and no table that
was ever in use is changed. New limits are a new table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class FormatLimits:
    """What the state machine accepts.

    found_bytes_max: values shown of what the compare-and-sets of one batch met that lost; the first is always shown.
    session_results_max: how far the sequences that a client is answered for may reach beyond the oldest that it waits
    for. session_kept_bytes_max: of remembered outcomes; a client that holds more must finish older writes first.
    session_floor_step_max: how far one batch moves what a client has released. session_idle_ms_max: by log time: a
    client idle for longer may be forgotten. session_idle_ms_min: never sooner, however many clients there are.
    client_age_ms_max: a client that is not remembered is new only if its id was drawn no longer ago than this, and no
    more than client_ahead_ms_max after now. Both are LOG_TIME_MS_MAX where no client says when it drew its id.

    transaction_*: of one transaction, what is nested in it included. operations_max: of both branches, and as many
    compares. range_keys_max, read_bytes_max: keys that its ranges meet, and bytes of keys and values that it reads;
    also of all transactions of one entry, so that no entry takes long. result_bytes_max: what it returns.
    """

    key_bytes_max: int
    value_bytes_max: int
    batch_commands_max: int
    found_bytes_max: int
    client_id_bytes: int
    session_results_max: int
    session_kept_bytes_max: int
    session_floor_step_max: int
    sessions_max: int
    session_idle_ms_max: int
    session_idle_ms_min: int
    client_age_ms_max: int
    client_ahead_ms_max: int
    transaction_operations_max: int
    transaction_levels_max: int
    transaction_range_keys_max: int
    transaction_read_bytes_max: int
    transaction_result_bytes_max: int


LOG_TIME_MS_MAX: Final = (1 << 48) - 1  # some 8,900 years; an entry that claims more is applied without its time

_FIRST: Final = FormatLimits(
    key_bytes_max=4096,
    value_bytes_max=1 << 20,
    batch_commands_max=4096,
    found_bytes_max=1 << 20,
    client_id_bytes=16,
    session_results_max=8192,
    session_kept_bytes_max=16 << 20,
    session_floor_step_max=16_384,
    sessions_max=100_000,
    session_idle_ms_max=3_600_000,
    session_idle_ms_min=300_000,
    client_age_ms_max=LOG_TIME_MS_MAX,
    client_ahead_ms_max=LOG_TIME_MS_MAX,
    transaction_operations_max=1024,
    transaction_levels_max=32,
    transaction_range_keys_max=4096,
    transaction_read_bytes_max=16 << 20,
    transaction_result_bytes_max=3 << 19,
)
FORMAT_LIMITS: Final[Mapping[int, FormatLimits]] = {
    1: _FIRST,
    2: replace(
        _FIRST,
        sessions_max=500_000,
        session_idle_ms_min=120_000,
        client_age_ms_max=120_000,
        client_ahead_ms_max=60_000,
    ),
}
FORMAT_LIMITS_NUMBER: Final = 2  # of a store that is founded today

_PRESENT: Final = FORMAT_LIMITS[FORMAT_LIMITS_NUMBER]
KEY_BYTES_MAX: Final = _PRESENT.key_bytes_max
VALUE_BYTES_MAX: Final = _PRESENT.value_bytes_max
BATCH_COMMANDS_MAX: Final = _PRESENT.batch_commands_max
FOUND_BYTES_MAX: Final = _PRESENT.found_bytes_max
CLIENT_ID_BYTES: Final = _PRESENT.client_id_bytes
SESSION_RESULTS_MAX: Final = _PRESENT.session_results_max
SESSION_KEPT_BYTES_MAX: Final = _PRESENT.session_kept_bytes_max
SESSION_FLOOR_STEP_MAX: Final = _PRESENT.session_floor_step_max
SESSIONS_MAX: Final = _PRESENT.sessions_max
SESSION_IDLE_MS_MAX: Final = _PRESENT.session_idle_ms_max
SESSION_IDLE_MS_MIN: Final = _PRESENT.session_idle_ms_min
CLIENT_AGE_MS_MAX: Final = _PRESENT.client_age_ms_max
CLIENT_AHEAD_MS_MAX: Final = _PRESENT.client_ahead_ms_max
TRANSACTION_OPERATIONS_MAX: Final = _PRESENT.transaction_operations_max
TRANSACTION_LEVELS_MAX: Final = _PRESENT.transaction_levels_max
TRANSACTION_RANGE_KEYS_MAX: Final = _PRESENT.transaction_range_keys_max
TRANSACTION_READ_BYTES_MAX: Final = _PRESENT.transaction_read_bytes_max
TRANSACTION_RESULT_BYTES_MAX: Final = _PRESENT.transaction_result_bytes_max

REQUEST_BYTES_MAX: Final = 3 << 19
MESSAGE_BYTES_MAX: Final = 2 * REQUEST_BYTES_MAX  # is read, so that an error can name what is too long; beyond: unread
TOKEN_CHARS_MAX: Final = 64
BATCH_OPERATIONS_MAX: Final = 1024  # writes or reads of one batch of a stream

SCAN_PAGE_KEYS_DEFAULT: Final = 1000
SCAN_PAGE_KEYS_MAX: Final = 10_000
SCAN_PAGE_BYTES_MAX: Final = 1 << 20  # a page ends once it holds this many bytes of keys and values

CALL_TIMEOUT_S_DEFAULT: Final = 5.0
CALL_TIMEOUT_S_MAX: Final = 60.0

# Of the log. No group reaches them by honest work (a term a microsecond for 8 years, a million entries a second for
# 2,000 years), so a number beyond comes from a bug or a forger, and is refused before anything of it is kept.
TERM_MAX: Final = (1 << 48) - 1
INDEX_MAX: Final = (1 << 56) - 1


def in_mib(size_bytes: int) -> str:
    """A limit as people read it: `1 MiB`, `1.5 MiB`."""
    return f"{size_bytes / (1 << 20):g} MiB"
