"""The only room that knows Redis: every estimate at hand, and the model that made them.

A publication is written whole, under a name that nobody reads yet; one SET makes it the
current one. So whoever reads sees one week or the next, and never a mixture.
"""

from pipeline.publication.connection import (
    ADDRESS_VARIABLE,
    connected,
    is_address,
    read_address,
    show_address,
)
from pipeline.publication.follower import Follower
from pipeline.publication.publisher import begin, publish

__all__ = [
    "ADDRESS_VARIABLE",
    "Follower",
    "begin",
    "connected",
    "is_address",
    "publish",
    "read_address",
    "show_address",
]
