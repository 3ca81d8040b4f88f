"""Keys and tokens inside small text files.

Only forms that are secrets by their look alone: a wrong alarm stops a deployment, so nothing here guesses. Each form
has a fixed text that is searched for first; the regular expression runs only where that text occurs.
"""

from __future__ import annotations

import re

MAX_BYTES = 256 << 10  # people paste keys into source and settings, not into data files

_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:\s|\\[nr])*[A-Za-z0-9+/=]{16}")
_AWS_SECRET = re.compile(rb"(?i)secret_?access_?key\W{1,5}[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])(?<!EXAMPLEKEY)")
_FORMS: tuple[tuple[bytes, str, re.Pattern[bytes]], ...] = (
    (b"PRIVATE KEY-----", "a private key", _PRIVATE_KEY),
    (b"AKIA", "an AWS access key", re.compile(rb"\bAKIA[0-9A-Z]{16}\b(?<!EXAMPLE)")),
    (b"ASIA", "an AWS session key", re.compile(rb"\bASIA[0-9A-Z]{16}\b(?<!EXAMPLE)")),
    (b"aws_secret", "an AWS secret key", _AWS_SECRET),
    (b"AWS_SECRET", "an AWS secret key", _AWS_SECRET),
    (b"SecretAccessKey", "an AWS secret key", _AWS_SECRET),
    (b"ghp_", "a GitHub token", re.compile(rb"\bghp_[A-Za-z0-9]{36}\b")),
    (b"gho_", "a GitHub token", re.compile(rb"\bgho_[A-Za-z0-9]{36}\b")),
    (b"ghs_", "a GitHub token", re.compile(rb"\bghs_[A-Za-z0-9]{36}\b")),
    (b"github_pat_", "a GitHub token", re.compile(rb"\bgithub_pat_[A-Za-z0-9_]{60,}")),
    (b"glpat-", "a GitLab token", re.compile(rb"\bglpat-[A-Za-z0-9_-]{20}")),
    (b"AIza", "a Google API key", re.compile(rb"\bAIza[0-9A-Za-z_-]{35}\b")),
    (b"GOCSPX-", "a Google client secret", re.compile(rb"\bGOCSPX-[A-Za-z0-9_-]{28}")),
    (b"xox", "a Slack token", re.compile(rb"\bxox[abprs]-[0-9]{8,}-[A-Za-z0-9-]{16,}")),
    (b"sk-ant-", "an Anthropic key", re.compile(rb"\bsk-ant-[A-Za-z0-9_-]{40,}")),
    (b"sk-proj-", "an OpenAI key", re.compile(rb"\bsk-proj-[A-Za-z0-9_-]{40,}")),
    (b"hf_", "a Hugging Face token", re.compile(rb"\bhf_[A-Za-z]{34}\b")),
    (b"pypi-AgEI", "a PyPI token", re.compile(rb"\bpypi-AgEI[A-Za-z0-9_-]{50,}")),
    (b"sk_live_", "a Stripe key", re.compile(rb"\bsk_live_[A-Za-z0-9]{24,}")),
)  # fmt: skip


def find_secret(content: bytes) -> tuple[int, str] | None:
    """The line of the first secret and what it is; None in larger or binary files, which are not searched."""
    if len(content) > MAX_BYTES or b"\0" in content:
        return None
    found = [
        (match.start(), what) for text, what, form in _FORMS if text in content and (match := form.search(content))
    ]
    if not found:
        return None
    start, what = min(found)
    return content.count(b"\n", 0, start) + 1, what
