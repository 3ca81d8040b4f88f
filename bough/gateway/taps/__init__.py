"""Taps: live requests that are kept, or copied to a branch and compared.

Promises: whoever asked waits for no copy and sees none of its answers; what is too much is left out, and counted; what
a service names as personal is replaced before a byte of it is written.
Never: copies what may change something in a web service.
"""
