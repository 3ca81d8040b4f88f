"""Ways in, and the processes: HTTP API, command line; server, gateway, node and the keeper that starts them again.

Everything about an operation (route, command, reference page) is derived from its declaration; what is decided is
decided in capabilities.
Never: a verb that the others do not have.
"""
