"""What stops a peer or a run."""


class CannotRun(Exception):
    """A sentence for the table: why this peer has no figures here."""
