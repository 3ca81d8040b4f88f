"""Data: files in datasets and what becomes of their blobs, as every environment sees them, on the catalog of layers.

Nouns: dataset (files under one name), point (a state of an environment: now, a tag, a time), mount (a dataset as a
folder, without copying), tree (one for a program to write in), garbage (blobs that nothing can reach any more).
Promises: many files change as one change or not at all; what is read is checked against its digest; a path never leads
outside its dataset; nothing is deleted that a head, a tag, a retained change, a release or a running unit can reach.
Never: holds bytes itself (blobs do), deletes a blob anywhere but in garbage collection and erasure.
"""
