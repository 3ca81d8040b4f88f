"""Hooks in a user's repository: small shell scripts that hand over to `bough git hook` and let every git command end as
it would have. A hook that is there already is renamed, and runs first; taking ours away gives it its name back."""

from __future__ import annotations

from pathlib import Path

from bough.kernel.files import write_whole

MARK = "# Written by `bough git install`"
SAVED = ".before-bough"

# After git has moved a branch or HEAD; and after any ref has changed, to learn of branches that are gone.
_MOVED = ("post-commit", "post-merge", "post-rewrite", "post-checkout")
GONE = "reference-transaction"
NAMES = (*_MOVED, GONE)

_HEAD = """#!/bin/sh
{mark}; `bough git uninstall` takes it away. It never fails a git command.
before="$(dirname "$0")/{name}{saved}"
"""

_FIRST = """status=0
[ -x "$before" ] && { "$before" "$@"; status=$?; }
"""

# Standard input can be read once, and two want it.
_FIRST_WITH_INPUT = """status=0
if [ -x "$before" ]; then
    input=$(cat)
    printf '%s\\n' "$input" | "$before" "$@"
    status=$?
elif [ "$1" = committed ]; then
    input=$(cat)
fi
[ "$1" = committed ] || exit $status
"""

_COMMON = """[ "$(git config --local --type=bool bough.follow 2>/dev/null)" = true ] || exit $status
bough=$(git config --local bough.command)
[ -x "$bough" ] || bough=$(command -v bough) || exit $status
hand_over() {
    if [ "$(git config --local --type=bool bough.foreground)" = true ]; then
        (unset $(git rev-parse --local-env-vars); "$bough" git hook --foreground "$@" </dev/null >&2) || :
    else
        (unset $(git rev-parse --local-env-vars); nohup "$bough" git hook "$@" </dev/null >/dev/null 2>&1 &)
    fi
}
"""

_TO_MOVED = """{only}branch=$(git symbolic-ref --quiet --short HEAD) || exit $status
hand_over moved "$branch"
exit $status
"""

_TO_GONE = """printf '%s\\n' "$input" | while read -r old new ref; do
    case $new in *[!0]*) continue ;; esac
    case $ref in refs/heads/*) hand_over gone "${ref#refs/heads/}" ;; esac
done
exit $status
"""


def script(name: str) -> str:
    head = _HEAD.format(mark=MARK, name=name, saved=SAVED)
    if name == GONE:
        return head + _FIRST_WITH_INPUT + _COMMON + _TO_GONE
    only = '[ "$3" = 1 ] || exit $status\n' if name == "post-checkout" else ""
    return head + _FIRST + _COMMON + _TO_MOVED.replace("{only}", only)


def install(folder: Path) -> list[str]:
    """Writes every hook; the names of those that were somebody else's and run first from now on."""
    folder.mkdir(parents=True, exist_ok=True)
    chained = []
    for name in NAMES:
        place, saved = folder / name, folder / (name + SAVED)
        if place.exists() and not is_ours(place):
            place.rename(saved)
        if saved.exists():
            chained.append(name)
        write_whole(place, script(name).encode(), mode=0o755)
    return chained


def uninstall(folder: Path) -> list[str]:
    """Removes ours and gives others their names back; the names of what was removed. A hook that was changed since it
    was installed is somebody else's."""
    removed = []
    for name in NAMES:
        place, saved = folder / name, folder / (name + SAVED)
        if place.exists() and is_ours(place):
            place.unlink()
            removed.append(name)
            if saved.exists():
                saved.rename(place)
    return removed


def is_ours(place: Path) -> bool:
    try:
        return MARK in place.read_text("utf-8", "replace")
    except OSError:
        return False
