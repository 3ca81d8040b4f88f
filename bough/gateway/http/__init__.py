"""HTTP/1.1 with clients: reads requests, sees that each has its turn, writes answers.

`reader` is the half of a connection that reads and `connection` the half that answers; `proxy` is one request to a web
service, `forwarding` what it changes in heads; `front` is what all connections share.
Promises: what two parsers could read differently is refused; a client that is slow costs memory within bounds, and time
of nobody else; answers come in the order of the requests.
"""
