"""What the bot reacts to: one module per event family, joined here."""

from bot.routing import Router
from handlers import checks, installation, issue_comment, issues, pull_request, push

ROUTER = Router(
    issues.router,
    issue_comment.router,
    checks.router,
    pull_request.router,
    push.router,
    installation.router,
)
"""The index of everything the bot reacts to."""
