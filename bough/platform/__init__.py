"""Platform: what Bough says of itself.

Nouns: part (server, gateway, node), audit entry, event.
Promises: reads only.
"""
