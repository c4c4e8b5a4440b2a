"""How much, how long and how many: what the service takes from its clients.

Whoever sends slowly, much or never holds a place for a few seconds and nothing more;
where places or memory run out, who has been waited for longest makes room.
"""

import resource

# From the first letter of the request line to the empty line after the headers.
MAX_HEAD_BYTES = 8 * 1024
MAX_HEADERS = 100
# Of 1,000 orders; endpoints that need less take less.
MAX_BODY_BYTES = 128 * 1024
# Of requests that are not whole yet, of all connections together.
MAX_HELD_BYTES = 32 * 2**20
# For a connection to ask, for a request to arrive, for an answer to be taken and, after
# the last one, for the client to close.
MAX_SECONDS = 10
# Between an answer and the next request: longer than load balancers keep connections,
# so that none sends a request while it is closed here.
KEEP_ALIVE_SECONDS = 75
MAX_CONNECTIONS = 12_000
# Of files other than connections.
RESERVED_FILES = 100
MIN_CONNECTIONS = 100
# That have arrived and wait for their turn: less than 0.1 s of a core's work.
MAX_WAITING_REQUESTS = 500
# The same of those that may take long: 0.5 s of work.
MAX_LONG_REQUESTS = 64
MAX_QUICK_BODY_BYTES = 2 * 1024
# Asked for by those who would end a service that is busy.
PROBES = ("/livez", "/readyz")
# Kept by the system for each connection: of what clients send, and do not read.
RECEIVE_BUFFER_BYTES = 64 * 1024
SEND_BUFFER_BYTES = 64 * 1024
# Of answers that a client does not read: kept here.
MAX_UNREAD_BYTES = 8 * 1024
# That have more.
MAX_UNREAD_CONNECTIONS = 100
RETRY_AFTER_SECONDS = 1


def allow_connections() -> int:
    """Allow as many open files as the operating system does; tells for how many
    connections they are enough, up to MAX_CONNECTIONS.

    Raises:
        RuntimeError: For too few.
    """
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    if files < RESERVED_FILES + MIN_CONNECTIONS:
        raise RuntimeError(
            f"Only {files} files may be open, which is too few for connections; "
            f"allow {RESERVED_FILES + MIN_CONNECTIONS} or more with ulimit -n."
        )
    return min(MAX_CONNECTIONS, files - RESERVED_FILES)
