"""Access: who may do what.

Nouns: principal (a person or service account), role, token (proves a principal to the API), key (lets a caller
through the gateway, nothing else).
Promises: the text of a token or key is shown once and only its SHA-256 is kept; every role includes the ones below it;
the last admin cannot be removed or demoted.
Never: sees requests to services; the gateway checks keys by itself, from its table.
"""
