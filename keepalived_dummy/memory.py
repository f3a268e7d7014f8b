# SPDX-License-Identifier: MIT
"""What the next run of the daemon has to know of this one: /run/keepalived-dummy/memory.json.

The addresses that uplinks have had since the boot, the dummies that are kept down, and the routes that can be put
back: an address may be away while the daemon starts, and nothing on the host tells these then.
"""

import functools
import json
from typing import NamedTuple

from keepalived_dummy import routes
from keepalived_dummy.host import Host, Place
from keepalived_dummy.netlink import messages
from keepalived_dummy.routes import Route


class Memory(NamedTuple):
    """What `Host.recall` takes."""

    seen: set[tuple[str, bytes]]
    down: dict[str, str]
    routes: dict[Place, list[Route]]


def pack(host: Host) -> bytes:
    """Return the file's content. A route is the body of its message, in hexadecimal digits."""
    known = [
        {
            "index": index,
            "family": family,
            "routes": [_body(route) for route in way.routes],
        }
        for (index, family), way in host.ways.items()
    ]
    seen = sorted([uplink, address.hex()] for uplink, address in host.hearing.seen)
    content = {"seen": seen, "down": host.hearing.down, "routes": known}
    return json.dumps(content, sort_keys=True).encode() + b"\n"


@functools.lru_cache(maxsize=4096)
def _body(route: Route) -> str:
    (message,) = messages(routes.restore(route))
    return message.body.hex()


def unpack(content: bytes) -> Memory:
    """Read the file's content; nothing is known where it is empty or of another version."""
    try:
        value = json.loads(content)
        seen = {(str(uplink), bytes.fromhex(address)) for uplink, address in value["seen"]}
        down = {str(name): str(why) for name, why in value["down"].items()}
        known = {(int(one["index"]), int(one["family"])): _routes(one) for one in value["routes"]}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Memory(set(), {}, {})
    return Memory(seen, down, known)


def _routes(one: dict[str, object]) -> list[Route]:
    bodies = one["routes"]
    if not isinstance(bodies, list):
        raise TypeError(bodies)
    found = (routes.route(bytes.fromhex(body), int(str(one["index"]))) for body in bodies)
    return [route for route in found if route is not None]
