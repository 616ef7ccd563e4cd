"""Counts an answer against its connection and the node until the client has taken it, or is gone."""

from typing import Any, Final

from replicator.api.context import Context
from replicator.api.interceptors.unary import Handler, UnaryInterceptor
from replicator.api.unread import UnreadAnswers
from replicator.model.errors import Overloaded

_READS: Final = frozenset({"Get", "Scan", "Status", "ReadBatch"})


class DeliveryInterceptor(UnaryInterceptor):
    """Within the deadline: a call that waits for its connection to read gives up in time."""

    def __init__(self, unread: UnreadAnswers) -> None:
        super().__init__()
        self._unread = unread

    async def around(self, method: str, call: Handler, request: Any, context: Context) -> Any:
        peer = context.peer()
        await self._unread.wait_for_room(peer)
        answer = await call(request, context)
        is_read = method.rpartition("/")[2] in _READS
        try:
            held = self._unread.hold(peer, answer.ByteSize(), droppable=is_read)
        except Overloaded:
            del answer  # or the error's traceback keeps it, until the refusal has left
            raise
        released: Any = lambda _: self._unread.release(held)  # noqa: E731  # the stubs say what the runtime does not
        context.add_done_callback(released)
        return answer
