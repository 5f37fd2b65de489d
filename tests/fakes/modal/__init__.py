"""Modal without an account: its real client and container runtime, against a server on 127.0.0.1.

Real: the `modal` command, the image's recipe, the choice of files, the container's entrypoint with its
ASGI wrapper, lifespan, signals and snapshot hooks. Not real: images are not built, requests are not
routed, and memory snapshots are not created: the process that requests one continues instead.
"""

from .calls import Calls
from .container import Container
from .control_plane import MODAL, ControlPlane, Deployment

__all__ = ["MODAL", "Calls", "Container", "ControlPlane", "Deployment"]
