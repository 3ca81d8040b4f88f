"""Builds: a project folder becomes a bundle, its requirements become an environment, and both are never made twice.

Nouns: bundle (the files of a folder, under the digest of their list), environment (a Python with locked packages, under
the digest of the lock), recipe (what a Dockerfile asks for), build (one unit of work that makes the two ready).
Promises: the same input gives the same digest on every machine; what has a digest is complete, also after kill -9;
secrets are refused before anything is sent; no path in a bundle leads outside it; the log says what each step cost.
Never: runs a RUN line, downloads an interpreter unasked, prints or keeps the address or password of a package index.
"""
