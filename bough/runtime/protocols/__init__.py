"""Protocols: how each verb's body becomes items for `predict`, and results become an answer that its clients know.

One file per protocol: `plain` (Bough's own JSON, server-sent events, lines), `inference` (Open Inference Protocol v2,
whose binary format is in `tensors`), `chat` and `embeddings` (OpenAI). Each turns a request into a `Work`. None of
them calls the model: that is `replica`'s, so that all protocols share batching, isolation and streaming.
"""
