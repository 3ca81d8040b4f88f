"""The registry: models, their immutable versions, and what vouches for them, as every environment sees them.

Nouns: model (a name with versions), model version (files, and what is known of how they came to be), alias (a name for
a version in an environment), signer (a key that signs versions), card (all that is known of a version, to be read).
Promises: a version never changes, and its number is never given again; a branch moves its own aliases, and a merge
brings them over or says who moved what; what is signed is refused once a byte, a file or the trust in its key is gone;
files that the store knows are not read again to be registered or signed.
Never: trains, serves, or decides which version is good enough (that is for gates and promotions).
"""
