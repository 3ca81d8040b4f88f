"""Which files of a folder do not go into its bundle, and why.

Three lists, weakest first. The first two can be overruled by a `!pattern` line in .boughignore, the third cannot.
    usual      what every project has and no program needs: virtual environments, caches, editors' files
    secret     names that hold passwords and keys: left out with a notice
    never      folders that are not the project's content, or that Bough itself writes
.boughignore, in the folder's root, has the syntax of .gitignore, negation included.
"""

from __future__ import annotations

from fnmatch import translate
from pathlib import Path
from re import compile as regex
from typing import TYPE_CHECKING

from bough.kernel.errors import Invalid

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

FILE_NAME = ".boughignore"

NEVER = frozenset({".git", ".bough", "__pycache__"})
USUAL_FOLDERS = frozenset({
    ".venv", "venv", "node_modules", ".tox", ".nox", ".hg", ".svn", ".mypy_cache", ".pytest_cache", ".ruff_cache",
    ".hypothesis", ".ipynb_checkpoints", ".idea", ".vscode", ".eggs", ".cache", ".direnv", "__pypackages__",
    ".terraform",
})  # fmt: skip
USUAL_FILES = (
    "*.pyc", "*.pyo", "*.swp", "*.swo", "*~", ".DS_Store", "Thumbs.db", ".coverage", ".coverage.*", ".#*", "#*#",
)  # fmt: skip
SECRET_FOLDERS = frozenset({".ssh", ".aws", ".gnupg", ".kube", ".azure", ".gcloud"})
SECRET_FILES = (
    ".env", ".env.*", "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.ppk", "id_rsa", "id_dsa",
    "id_ecdsa", "id_ed25519", "credentials.json", "client_secret*.json", "service[-_]account*.json", ".netrc", "_netrc",
    ".pypirc", ".npmrc", ".git-credentials", ".htpasswd", ".pgpass", "secrets.toml", "secrets.yaml", "secrets.yml",
    "*.tfstate",
)  # fmt: skip
NOT_SECRET = frozenset({".env.example", ".env.sample", ".env.template", ".env.dist", "example.env", "sample.env"})


def _any_of(patterns: tuple[str, ...]) -> str:
    return "|".join(translate(pattern) for pattern in patterns)


_USUAL = regex(_any_of(USUAL_FILES))
_SECRET = regex(_any_of(SECRET_FILES))

SECRET = "its name says that it holds a secret"  # noqa: S105 - a reason for people, not a password


class Ignore:
    """The lists for one folder."""

    def __init__(self, text: str = "") -> None:
        self._spec = _parse(text)

    @classmethod
    def of(cls, folder: Path) -> Ignore:
        path = folder / FILE_NAME
        try:
            return cls(path.read_text("utf-8"))
        except FileNotFoundError:
            return cls()
        except UnicodeDecodeError as error:
            raise Invalid(f"{FILE_NAME} is not UTF-8 text", code="IGNORE_INVALID", hint=f"edit {FILE_NAME}") from error

    def reason(self, path: str, name: str, *, is_folder: bool) -> str | None:
        """Why `path` (whose last part is `name`) is left out; None when it belongs to the bundle. The folders above
        it must have been asked about before: what lies in an excluded folder cannot be brought back, as in git."""
        if name in NEVER and is_folder:
            return "never part of a bundle"
        asked = self._asked(path + "/" if is_folder else path)
        if asked is not None:
            return f"listed in {FILE_NAME}" if asked else None
        if is_folder:
            return SECRET if name in SECRET_FOLDERS else "usually not needed" if name in USUAL_FOLDERS else None
        if _SECRET.match(name) and name not in NOT_SECRET:
            return SECRET
        return "usually not needed" if _USUAL.match(name) else None

    def is_wanted(self, path: str) -> bool:
        """Whether a `!pattern` line asks for this file by name, secret or not."""
        return self._asked(path) is False

    def _asked(self, path: str) -> bool | None:
        return None if self._spec is None else self._spec.check_file(path).include


def _parse(text: str) -> GitIgnoreSpec | None:
    lines = text.splitlines()
    if not any(line.strip() and not line.startswith("#") for line in lines):
        return None
    from pathspec import GitIgnoreSpec  # 50 ms: only projects that have the file pay for it

    try:
        return GitIgnoreSpec.from_lines(lines)
    except ValueError:
        for number, line in enumerate(lines, 1):
            try:
                GitIgnoreSpec.from_lines([line])
            except ValueError as error:
                raise Invalid(
                    f"{FILE_NAME}:{number}: {line!r} is not a pattern: {error}",
                    code="IGNORE_INVALID", hint=f"edit {FILE_NAME}, line {number}", file=FILE_NAME, line=number,
                ) from error  # fmt: skip
        raise
