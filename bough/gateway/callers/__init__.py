"""Callers of the gateway: who they are, from where they may ask, and how often.

Promises: of keys only digests are here, and they are compared in constant time; no request waits for an issuer of
tokens; a quota counts exactly, and a request that one refuses takes nothing from the others.
Never: knows more of a route than the routing table says.
"""
