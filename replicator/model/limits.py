"""Every limit that a caller can meet, with its unit. Beyond one of them: INVALID_ARGUMENT, naming it."""

from typing import Final

KEY_BYTES_MAX: Final = 480  # LMDB holds keys up to 511 bytes
VALUE_BYTES_MAX: Final = 1 << 20
REQUEST_BYTES_MAX: Final = 3 << 19  # 1.5 MiB
CLIENT_ID_BYTES: Final = 16
TOKEN_CHARS_MAX: Final = 64

SCAN_PAGE_KEYS_DEFAULT: Final = 1000
SCAN_PAGE_KEYS_MAX: Final = 10_000
SCAN_PAGE_BYTES_MAX: Final = 1 << 20  # a page ends once it holds this many bytes of keys and values

SESSION_RESULTS_MAX: Final = 1024  # results remembered for one client; its writes in flight stay below this
SESSION_FLOOR_STEP_MAX: Final = 16 * SESSION_RESULTS_MAX  # how far one message moves what a client has released
SESSIONS_MAX: Final = 100_000
SESSION_IDLE_MS_MAX: Final = 3_600_000  # by log time: a client idle for longer may be forgotten
SESSION_IDLE_MS_MIN: Final = 300_000  # never forgotten sooner, however many clients there are

CALL_TIMEOUT_S_DEFAULT: Final = 5.0
CALL_TIMEOUT_S_MAX: Final = 60.0

# Of the log. No group reaches them by honest work (a term a microsecond for 8 years, a million entries a second for
# 2,000 years), so a number beyond comes from a bug or a forger, and is refused before anything of it is kept.
TERM_MAX: Final = (1 << 48) - 1
INDEX_MAX: Final = (1 << 56) - 1
LOG_TIME_MS_MAX: Final = (1 << 48) - 1  # some 8,900 years; an entry that claims more is applied without its time
