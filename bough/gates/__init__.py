"""Gates: what a version of a model must show before it is used in an environment.

Nouns: gate, gate run (all gates of an environment, for one version), evidence.
Promises: gates belong to the environment: they are part of its live release, and whoever runs them, from wherever, they
are the same. Each leaves its evidence as a blob that names the version's digest. Code of users and of models runs in
units of the engine, never in the server. A release that pins a version without passed gates is refused.
Never: changes what serves; decides by anything that it does not keep.
"""
