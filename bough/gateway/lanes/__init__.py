"""Lanes: the queue of one deployment, and the connections to its replicas.

Of a model: `lane` is the queue, `dealing` decides who gets how many of the calls that wait, `link` keeps a connection
(`wire`) to a replica, `pool` says which warm ones are used, `losses` how one died. Of a web service: `web` is the lane,
`upstream` a connection.
Promises: a call whose replica died is sent again once at most, alone, and only to an idempotent service that has begun
no answer; nothing waits for a timer unless the route asks for it.
Never: knows how a client asked.
"""
