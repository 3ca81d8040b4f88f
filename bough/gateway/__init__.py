"""Gateway: the data plane. Takes requests, finds the route, batches, answers.

Nouns: route (where a request goes), routing table (all routes and keys; a file), lane (one service's queue), link (one
connection to a replica), batch.
Promises: needs no control plane to serve: it keeps its table on disk and asks the node itself to wake a replica; no
request is answered twice or with another's answer; what is refused says why (429, 503, 504) and when to come back.
Inside, from the ground up: `callers`, `telemetry`, `lanes`, `taps`, `routing`, `http`, `queues`; `server` puts them
together. `loop`, `sleeping`, `renewal` and `operations` are the control plane's side.
Never: reads the database, parses a model's input, imports user code.
"""
