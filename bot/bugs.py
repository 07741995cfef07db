"""The one place where an error nobody planned for is caught: the traceback goes to the log, work goes on."""

from collections.abc import Awaitable

import structlog

from bot.errors import BotError

_log = structlog.get_logger(__name__)


async def guarded(work: Awaitable[None], **context: object) -> Exception | None:
    """Await `work`; return the error nobody planned for, after logging it with `context`, or None.

    What went wrong in a way we know by name passes through: the caller knows what to do.
    """
    try:
        await work
    except BotError:
        raise
    except Exception as error:  # noqa: BLE001  the job loop: one broken job must not stop the others
        _log.exception("bug", **context)
        return error
    return None
