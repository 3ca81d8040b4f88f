"""Tracking: what training runs report, and finding it again.

Nouns: experiment (runs that belong together), run (one execution: parameters, metrics with their history, tags,
artifacts, inputs, where and from which code it ran), artifact (a file of a run, a logged model or a trace), logged
model (a model that a run has made and nobody has registered yet), trace (what one request made a program do), span (one
piece of work of it), assessment (what somebody thinks of a trace).
Promises: metric points are never overwritten, a parameter never changes; everything may be sent twice; kill -9 loses
nothing that was answered, only a power cut may lose the last moments (a sync for each point would cost a hundred times
the point); artifacts are blobs, whole or absent. A run says which inputs, code, Python environment and hardware it had.
Never: decides what becomes of a model (that is the registry), or knows a wire format of others (`entrypoints/mlflow`
translates).
"""
