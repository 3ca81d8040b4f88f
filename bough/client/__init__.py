"""The SDK: every operation as a method, over HTTP or in one process with the server.

    from bough.client import connect

    bough = connect()                                    # this machine's; or Client("https://…", token)
    for release in bough.releases.list(project="shop"):
        print(release.number, release.state)

Errors are those of `bough.kernel.errors`, as the server raised them. No server library is imported.
"""

from bough.client.later import later as __getattr__  # noqa: F401 - for whoever asks the module

__all__ = ["Client", "Record", "connect"]
