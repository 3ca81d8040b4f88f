"""All peers by name, in the order of the tables."""

from __future__ import annotations

from boughs import BOUGHS
from peers import OTHERS, Peer

PEERS: dict[str, Peer] = {peer.name: peer for peer in (*OTHERS, *BOUGHS)}
