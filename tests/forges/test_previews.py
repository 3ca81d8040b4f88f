"""Pull requests become environments: a real git, the forges' own payloads, a forge on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bough.kernel.errors import Conflict, Invalid, NotFound, Unauthenticated
from tests.forges import payloads
from tests.forges.standin import StandIn
from tests.plane import Plane
from tests.pushes.remote import TOML

TOKEN = "ghp_forge-token"


class Linked:
    """A plane whose project is linked with a forge."""

    def __init__(self, folder: Path, *, kind: str = "github", **fields: Any) -> None:
        self.kind = kind
        self.forge = StandIn(folder / "forge")
        self.forge.commit("main", bough_toml=TOML, service_py="one")
        self.plane = Plane(folder)
        self.plane.deploy(TOML)
        self.plane.call("secrets.set", project="shop", values={"PRICE_KEY": "s3cret", "FORGE_TOKEN": TOKEN})
        made = self.plane.call(
            "forges.add", project="shop", repository="ada/shop", kind=kind, forge_url=self.forge.url,
            token_secret="FORGE_TOKEN", **fields,
        )  # fmt: skip
        self.id, self.secret = made.link.id, made.webhook_secret

    def pull(
        self, number: int, action: str, commit: str, *, answered: bool = True, delivery: str = "", **fields: Any
    ) -> Any:
        """Sends a webhook, and lets the forge's API say the same."""
        payload: Any
        if self.kind == "gitlab":
            payload = payloads.gitlab_merge(number, action, commit, **fields)
            if answered:
                self.forge.pulls[number] = payload["object_attributes"]
            return self.take(*payloads.with_gitlab_token(payload, self.secret, delivery))
        payload = payloads.github_pull(number, action, commit, **fields)
        if answered:
            self.forge.pulls[number] = payload["pull_request"]
        sign = payloads.signed_gitea if self.kind == "gitea" else payloads.signed_github
        return self.take(*sign("pull_request", payload, self.secret, delivery))

    def take(self, headers: dict[str, str], body: bytes) -> str:
        return self.plane.bough.webhooks.take(self.id, headers, body).outcome

    def wait(self, number: int, *states: str) -> Any:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            self.plane.let_pass(0.5)
            found = self.preview(number)
            if found.state in states and found.shown.startswith(f"{found.state} "):
                return found
            time.sleep(0.05)  # git is at work, in real time
        raise AssertionError(found)

    def preview(self, number: int) -> Any:
        found = self.plane.call("previews.list", project="shop", closed=True)
        return next(each for each in found if each.number == number)

    def names(self) -> set[str]:
        return {each.name for each in self.plane.call("environments.list", project="shop")}

    def commits(self, environment: str) -> list[str]:
        """Newest first."""
        return [each.commit for each in self.plane.call("releases.list", project="shop", environment=environment)]

    def said(self) -> str:
        (comment,) = self.forge.comments.values()
        return comment[1]

    def stop(self) -> None:
        self.forge.stop()
        self.plane.bough.stop()


@pytest.fixture(params=["github", "gitlab", "gitea"])
def linked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Linked]:
    made = Linked(tmp_path, kind=request.param)
    yield made
    made.stop()


@pytest.fixture
def github(tmp_path: Path) -> Iterator[Linked]:
    made = Linked(tmp_path, branches=["main"])
    yield made
    made.stop()


def ref(linked: Linked, number: int) -> str:
    return f"refs/merge-requests/{number}/head" if linked.kind == "gitlab" else f"refs/pull/{number}/head"


def test_a_pull_request_opens_updates_and_closes_an_environment(linked: Linked) -> None:
    first = linked.forge.commit("feature/x", ref(linked, 7), service_py="two")
    assert linked.pull(7, "opened" if linked.kind != "gitlab" else "open", first) == "taken"
    live = linked.wait(7, "live")
    assert (live.environment, live.deployed) == ("feature-x", first)
    assert linked.commits("feature-x")[0] == first
    assert "is live as release" in linked.said() and "http://127.0.0.1:7400/v1/till--feature-x" in linked.said()
    assert "@everyone" not in linked.said(), "nothing that a pull request says is repeated"
    assert linked.forge.statuses[-1][:2] == (first, "success")
    assert all(TOKEN in each or "Basic" in each for each in linked.forge.tokens)

    second = linked.forge.commit("feature/x", ref(linked, 7), service_py="three")
    linked.pull(7, "synchronize" if linked.kind != "gitlab" else "update", second, at="2026-05-01T11:00:00Z")
    assert linked.wait(7, "live").deployed == second
    assert linked.commits("feature-x")[0] == second and len(linked.forge.comments) == 1
    pushed = linked.plane.call("pushes.list", project="shop")
    assert [(each.commit, each.state) for each in pushed.pushes] == [(second, "live"), (first, "live")]
    assert pushed.live == 2 and 0 < pushed.median_s <= pushed.slowest_s, "from the webhook to the URL"

    linked.pull(7, "closed" if linked.kind != "gitlab" else "merge", second, at="2026-05-01T12:00:00Z")
    linked.wait(7, "closed")
    assert linked.names() == {"main"} and "is gone" in linked.said()
    again = linked.forge.commit("feature/x", ref(linked, 7), service_py="four")
    linked.pull(7, "reopened" if linked.kind != "gitlab" else "reopen", again, at="2026-05-01T13:00:00Z")
    assert linked.wait(7, "live").deployed == again and "feature-x" in linked.names()


def test_a_commit_that_is_pushed_while_the_one_before_is_deployed_is_deployed_next(github: Linked) -> None:
    first = github.forge.commit("feature/x", "refs/pull/7/head", service_py="two")
    github.pull(7, "opened", first)
    second: list[str] = []

    def pushed() -> bool:
        if github.preview(7).state == "deploying":
            second.append(github.forge.commit("feature/x", "refs/pull/7/head", service_py="three"))
            github.pull(7, "synchronize", second[0], at="2026-05-01T11:00:00Z")
        return bool(second)

    github.plane.before_writing("preview", pushed)
    while not second:
        github.plane.let_pass(0.5)
        time.sleep(0.01)
    assert github.wait(7, "live").deployed == second[0]
    assert github.commits("feature-x")[:2] == [second[0], first]


def test_a_fork_waits_for_a_word_on_each_commit_and_sees_no_secret(github: Linked) -> None:
    first = github.forge.commit("main", "refs/pull/8/head", service_py="evil")
    github.pull(8, "opened", first, branch="main", head="eve/shop")
    waiting = github.wait(8, "waiting")
    assert github.names() == {"main"} and "bough previews allow 8" in github.said()
    assert waiting.branch == "pr/8", "a fork's main is not ours"
    github.plane.call("previews.allow", project="shop", number=8)
    live = github.wait(8, "live")
    assert live.environment == "pr-8"
    assert github.plane.call("secrets.list", project="shop", environment="pr-8") == []
    assert github.plane.call("environments.show", project="shop", branch="pr-8").sealed == ["secret"]

    second = github.forge.commit("main", "refs/pull/8/head", service_py="worse")
    github.pull(8, "synchronize", second, branch="main", head="eve/shop", at="2026-05-01T11:00:00Z")
    github.wait(8, "waiting")
    assert github.commits("pr-8")[0] == first, "what was allowed before is still there"
    github.plane.call("previews.allow", project="shop", number=8)
    third = github.forge.commit("main", "refs/pull/8/head", service_py="worst")
    github.forge.pulls[8]["head"]["sha"] = third
    github.forge.pulls[8]["updated_at"] = "2026-05-01T11:30:00Z"
    github.wait(8, "waiting")
    assert second not in github.commits("pr-8") and third not in github.commits("pr-8")


@pytest.mark.parametrize(("forks", "state"), [("never", "waiting"), ("sealed", "live")])
def test_what_forks_may_do_is_said_by_the_link(tmp_path: Path, forks: str, state: str) -> None:
    linked = Linked(tmp_path, forks=forks)
    commit = linked.forge.commit("main", "refs/pull/9/head", service_py="theirs")
    linked.pull(9, "opened", commit, head=None)
    assert linked.wait(9, state).environment == ("pr-9" if state == "live" else "")
    if forks == "never":
        with pytest.raises(Conflict, match="waits for nobody"):
            linked.plane.call("previews.allow", project="shop", number=9)
    linked.stop()


def test_unsigned_forged_and_foreign_calls_change_nothing(github: Linked) -> None:
    commit = github.forge.commit("feature/x", "refs/pull/7/head")
    payload = payloads.github_pull(7, "opened", commit)
    headers, body = payloads.signed_github("pull_request", payload, "another secret")
    for wrong in (headers, {**headers, "x-hub-signature-256": ""}, {**headers, "x-hub-signature-256": "sha256=ä"}):
        with pytest.raises(Unauthenticated) as caught:
            github.take(wrong, body)
        assert caught.value.own_code == "WEBHOOK_FORGED"
    headers, body = payloads.signed_github("pull_request", payload, github.secret)
    with pytest.raises(Unauthenticated):
        github.take(headers, body.replace(b"opened", b"Opened"))
    other = payloads.github_pull(7, "opened", commit, repository="eve/shop")
    with pytest.raises(Invalid, match="is of eve/shop"):
        github.take(*payloads.signed_github("pull_request", other, github.secret))
    with pytest.raises(NotFound):
        github.plane.bough.webhooks.take("frg_none", headers, body)
    for broken in (b"{", b"[]", b'{"pull_request": {"number": "7"}, "repository": 5}', b'{"pull_request": null}'):
        mark = payloads._hex(github.secret, broken)
        with pytest.raises(Invalid) as unread:
            github.take({"x-github-event": "pull_request", "x-hub-signature-256": f"sha256={mark}"}, broken)
        assert unread.value.own_code == "WEBHOOK_INVALID"
    assert github.plane.call("previews.list", project="shop", closed=True) == []


def test_calls_that_come_again_late_or_out_of_order_do_no_harm(github: Linked) -> None:
    first = github.forge.commit("feature/x", "refs/pull/7/head", service_py="two")
    assert github.pull(7, "opened", first, delivery="d1") == "taken"
    assert github.pull(7, "opened", first, delivery="d1") == "repeated"
    assert github.pull(7, "opened", first, delivery="d2") == "old", "the same state under another name"
    github.wait(7, "live")
    assert github.pull(7, "closed", first, at="2026-05-01T12:00:00Z") == "taken"
    assert github.pull(7, "synchronize", first, at="2026-05-01T11:59:59Z", answered=False) == "old"
    assert github.pull(7, "synchronize", first, at="2026-05-01T12:00:00Z", answered=False) == "old"
    github.wait(7, "closed")
    assert github.names() == {"main"}
    assert github.pull(12, "closed", first, answered=False) == "old", "nobody has heard of it before"
    outcomes = [each.outcome for each in github.plane.call("forges.deliveries", id=github.id)]
    assert outcomes.count("taken") == 2 and outcomes.count("repeated") == 0


def test_the_forge_itself_is_believed_more_than_a_call(github: Linked) -> None:
    """An opening is replayed with a fresh signature's worth of trust, but the pull request was closed long ago."""
    commit = github.forge.commit("feature/x", "refs/pull/7/head", service_py="two")
    closed = payloads.github_pull(7, "closed", commit, at="2026-05-01T12:00:00Z")["pull_request"]
    github.forge.pulls[7] = closed
    github.pull(7, "opened", commit, answered=False)
    github.wait(7, "closed")
    assert github.names() == {"main"}


def test_a_forge_that_is_away_is_tried_again(github: Linked) -> None:
    commit = github.forge.commit("feature/x", "refs/pull/7/head", service_py="two")
    github.forge.away = True
    github.pull(7, "opened", commit)
    for _ in range(200):
        github.plane.let_pass(0.5)
        time.sleep(0.005)
        if github.preview(7).failures:
            break
    assert "does not answer as a forge does" in github.preview(7).why
    github.forge.away = False
    assert github.wait(7, "live").deployed == commit


def test_a_branch_that_is_followed_is_deployed_at_every_push(github: Linked) -> None:
    commit = github.forge.commit("main", service_py="next")
    taken = github.take(*payloads.signed_github("push", payloads.push("main", commit), github.secret))
    assert taken == "taken"
    github.wait(0, "live")
    assert github.commits("main")[0] == commit and github.forge.comments == {}
    other = github.forge.commit("other", service_py="x")
    assert github.take(*payloads.signed_github("push", payloads.push("other", other), github.secret)) == "ignored"


def test_a_failing_build_is_said_in_the_pull_request(github: Linked) -> None:
    commit = github.forge.commit("feature/x", "refs/pull/7/head", bough_toml="name = [")
    github.pull(7, "opened", commit)
    failed = github.wait(7, "failed")
    assert failed.why and "did not become live" in github.said()
    assert github.forge.statuses[-1][:2] == (commit, "failure")


def test_two_pull_requests_of_one_branch_share_its_environment_until_both_are_closed(github: Linked) -> None:
    commit = github.forge.commit("feature/x", "refs/pull/7/head", service_py="two")
    github.forge.commit("feature/x", "refs/pull/8/head")
    github.pull(7, "opened", commit)
    github.pull(8, "opened", commit, base="develop")
    github.wait(7, "live")
    github.wait(8, "live")
    github.pull(7, "closed", commit, at="2026-05-01T12:00:00Z")
    github.wait(7, "closed")
    assert "feature-x" in github.names()
    github.pull(8, "closed", commit, base="develop", at="2026-05-01T12:00:00Z")
    github.wait(8, "closed")
    assert github.names() == {"main"}


def test_the_next_start_goes_on_where_the_last_one_died(tmp_path: Path) -> None:
    linked = Linked(tmp_path)
    commit = linked.forge.commit("feature/x", "refs/pull/7/head", service_py="two")
    linked.pull(7, "opened", commit)
    linked.plane.bough.stop()
    linked.plane = Plane(tmp_path)
    try:
        assert linked.wait(7, "live").deployed == commit
    finally:
        linked.stop()


def test_a_token_is_in_no_row_and_in_no_log(github: Linked, caplog: pytest.LogCaptureFixture) -> None:
    commit = github.forge.commit("feature/x", "refs/pull/7/head", service_py="two")
    github.pull(7, "opened", commit)
    github.wait(7, "live")
    home = github.plane.bough.home.path
    for file in (each for each in home.rglob("*") if each.is_file()):
        content = file.read_bytes()
        assert TOKEN.encode() not in content and github.secret.encode() not in content, file
    assert TOKEN not in caplog.text


def test_links_are_added_once_listed_and_removed(github: Linked) -> None:
    add = {"project": "shop", "repository": "ada/shop", "forge_url": github.forge.url}
    with pytest.raises(Conflict):
        github.plane.call("forges.add", **add)
    for wrong in ({"repository": "shop"}, {"repository": "ada/new", "kind": "gitea", "forge_url": ""},
                  {"repository": "ada/new", "token_secret": "NONE"}):  # fmt: skip
        with pytest.raises((Invalid, NotFound)):
            github.plane.call("forges.add", **(add | wrong))
    (link,) = github.plane.call("forges.list", project="shop")
    github.plane.call("forges.remove", id=link.id)
    assert github.plane.call("forges.list", project="shop") == []
    assert [each.name for each in github.plane.call("secrets.list", project="shop")] == ["FORGE_TOKEN", "PRICE_KEY"]
