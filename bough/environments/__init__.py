"""Environments: projects, their environments, and the releases that each environment has had.

Nouns: project, environment (`main` is production), release (a numbered, immutable manifest: services with settings,
bundles and environments for their code), plan (what a release would change).
Promises: a release is never edited; the same files and settings give the same digest, and deploying them again gives
the release that is there; rolling back makes a new release from an old manifest, byte for byte, and builds nothing.
Never: starts a process; `serving` makes a release true and reports back through `progress`.
"""
