"""An embedded GitHub: REST, GraphQL, Git, webhooks and pages over real HTTP, for demos and tests."""

from localhub.hub import Hub
from localhub.serving import serve

__all__ = ["Hub", "serve"]
