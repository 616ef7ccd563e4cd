"""How the system says that there is no room: there may be some again, so nothing ends for that."""

import errno
from typing import Final

FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
