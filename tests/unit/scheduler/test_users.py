"""Whom the cluster knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bridge.db import Actor, ClusterUser
from bridge.errors import CommandTimeout, ConnectFailed, SessionError, UserUnknown
from bridge.scheduler.users import look_up, users_tick
from bridge.services.logins import Person, Wanted
from bridge.sessions import Completed
from bridge.sites import Site
from tests.factories.rows import add_account
from tests.unit.scheduler.world import World

PERSON = Person("alpha", "PHYSICS", "alice")
ALICE = b"alice:x:2001:2002:Alice:/home/alice:/bin/bash\n"
Answer = Callable[[list[str]], Completed]


class Observer:
    """A session in which each command says what a test gives, by its first two words."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.asked: list[list[str]] = []
        self._answers = answers

    def run(self, argv: list[str], **_given: Any) -> Completed:
        self.asked.append(argv)
        answer = self._answers[" ".join(argv[:2])]
        if isinstance(answer, Exception):
            raise answer
        status, text = answer if isinstance(answer, tuple) else (0, answer)
        return Completed(status, text, b"")


def observe(
    world: World, passwd: Any = ALICE, groups: Any = b"2002 2050\n", **more: Any
) -> Observer:
    observer = Observer({"getent passwd": passwd, "id -G": groups, **more})
    replace_context(world, observer=lambda: observer)
    return observer


def replace_context(world: World, **changes: Any) -> None:
    world.context = world.context.__class__(**{**vars(world.context), **changes})


def replace_site(world: World, *, tenant: dict[str, Any] | None = None, **cluster: Any) -> None:
    data = world.context.site.model_dump()
    data["clusters"]["alpha"].update(cluster)
    data["tenants"]["PHYSICS"].update(tenant or {})
    replace_context(world, site=Site.model_validate(data))


def row(world: World, username: str = "alice", tenant: str = "PHYSICS") -> ClusterUser:
    with world.database.read() as session:
        return session.get_one(ClusterUser, ("alpha", tenant, username))


def ask(world: World, username: str = "alice", **changes: Any) -> None:
    values = {"asked": 1, "answered": 0, "checked_at": None, "uid": None, "gid": None, **changes}
    with world.database.begin() as session:
        add_account(session, username, **values)


def test_an_account(each_world: World) -> None:
    observer = observe(each_world)
    ask(each_world)
    each_world.clock.push(1)
    assert users_tick(each_world.context) == 1

    found = row(each_world)
    assert (found.login, found.uid, found.gid, found.home) == ("alice", 2001, 2002, "/home/alice")
    assert found.groups == [2002, 2050]
    assert found.checked_at == each_world.clock.now()
    assert observer.asked == [["getent", "passwd", "alice"], ["id", "-G", "alice"]]
    assert users_tick(each_world.context) == 0


@pytest.mark.parametrize(
    ("passwd", "says"),
    [
        ((2, b""), "has no account"),
        (b"bob:x:2001:2002:Bob:/home/bob:/bin/bash\n", "has no account"),
        (b"Alice:x:2001:2002:Alice:/home/alice:/bin/bash\n", "has no account"),
        (b"alice:x:2001\n", "has no account"),
        (b"alice:x:0:0:Alice:/root:/bin/bash\n", "root"),
        (b"alice:x:999:999:Alice:/:/bin/sh\n", "below 1000"),
        (b"alice:x:2001:0:Alice:/:/bin/sh\n", "group 0"),
        (b"alice:x:4294967294:2001:Alice:/:/bin/sh\n", "cannot be kept"),
        (b"alice:x:many:2:Alice:/:/bin/sh\n", "has no account"),
        (b"\xff\xfe\n", "has no account"),
    ],
)
def test_no_account_under_which_anything_may_run(world: World, passwd: Any, says: str) -> None:
    observe(world, passwd)
    ask(world)
    users_tick(world.context)

    found = row(world)
    assert (found.login, found.uid, found.gid) == (None, None, None)
    assert says in found.reason
    assert found.checked_at is not None


def test_a_member_of_roots_group_runs_nothing(world: World) -> None:
    observe(world, groups=b"2002 0 2050\n")
    ask(world)
    users_tick(world.context)
    assert "in group 0" in row(world).reason


@pytest.mark.parametrize(
    ("forbidden", "says"),
    [
        ({"min_uid": 2002}, "below 2002"),
        ({"forbidden_users": ["alice"]}, "forbidden_users"),
        ({"forbidden_groups": ["2050"]}, "group 2050"),
        ({"forbidden_groups": ["wheel", "other"]}, "group wheel"),
        ({"forbidden_groups": ["other"]}, None),
    ],
)
def test_whom_the_site_refuses(world: World, forbidden: dict[str, Any], says: str | None) -> None:
    replace_site(world, **forbidden)
    groups = (2, b"wheel:x:2050:alice\nother:x:77:\n")  # 2: one of the names is unknown
    observe(world, **{"getent group": groups})
    ask(world)
    users_tick(world.context)
    found = row(world)
    assert (says in found.reason) if says else found.login == "alice"


@pytest.mark.parametrize(
    "username", ["", "a b", "-alice", "alice\n", "../x", "a" * 65, "alice;id", "2001", "\u0430lice"]
)
def test_what_is_no_name_is_not_looked_up(world: World, username: str) -> None:
    observer = observe(world)
    with pytest.raises(UserUnknown, match="no Unix user name"):
        look_up(world.context, PERSON, Wanted(username))
    assert observer.asked == []


def test_a_cluster_out_of_reach_says_nothing_of_anybody(world: World) -> None:
    observe(world, ConnectFailed("no session"))
    ask(world)
    users_tick(world.context)
    assert row(world).answered == 0

    observe(world)
    users_tick(world.context)
    assert row(world).uid == 2001


@pytest.mark.parametrize(
    "answers",
    [
        # Source: getent(1): 2 means not found; 1 and 3 that it could not be asked for.
        {"passwd": (1, b"")},
        {"groups": (1, b"")},
        {"groups": b""},
        {"groups": b"2002 wheel\n"},
    ],
)
def test_a_user_database_that_fails_says_nothing_of_anybody(
    world: World, answers: dict[str, Any]
) -> None:
    observe(world, **answers)
    ask(world)
    users_tick(world.context)
    assert row(world).answered == 0


def test_a_second_question_is_answered_anew(world: World) -> None:
    observe(world, (2, b""))
    ask(world)
    users_tick(world.context)
    assert row(world).uid is None

    with world.database.begin() as session:
        session.get_one(ClusterUser, PERSON.key).asked += 1
    observe(world)
    users_tick(world.context)
    assert row(world).uid == 2001
    assert row(world).reason == ""
    assert users_tick(world.context) == 0


def test_an_answer_to_an_earlier_question_is_none(world: World) -> None:
    observer = observe(world)
    ask(world)

    def interrupt(argv: list[str]) -> None:
        with world.database.begin() as session:
            session.get_one(ClusterUser, PERSON.key).asked = 2

    run = observer.run
    observer.run = lambda argv, **given: (interrupt(argv), run(argv))[1]  # type: ignore[assignment]
    users_tick(world.context)
    assert row(world).answered == 0


def test_others_questions_are_not_ours(world: World) -> None:
    observe(world)
    ask(world, cluster="beta")
    ask(world, tenant="GONE")
    assert users_tick(world.context) == 0


def test_one_who_cannot_be_asked_about_holds_up_nobody(world: World) -> None:
    ask(world)
    ask(world, "bob")
    observer = observe(world)
    run = observer.run

    def fail(argv: list[str], **given: Any) -> Completed:
        if argv[-1] == "alice":
            raise SessionError("no")
        return run(argv, **given)

    observer.run = fail  # type: ignore[method-assign]
    users_tick(world.context)
    assert row(world, "bob").reason  # the answer was alice's line, so bob has no account
    assert row(world).answered == 0


def test_the_tables_account_is_looked_up(world: World) -> None:
    table = {"alice": {"login": "al", "uid": 2001, "gid": 2002, "groups": [2050]}}
    replace_site(world, tenant={"accounts": "table", "account_table": table})
    observer = observe(world, ALICE.replace(b"alice", b"al"))
    ask(world)
    users_tick(world.context)
    assert (row(world).login, row(world).uid) == ("al", 2001)
    assert observer.asked[0] == ["getent", "passwd", "al"]


@pytest.mark.parametrize(
    ("claimed", "says"),
    [
        ({"login": "alice", "uid": 2001, "gid": 2002, "groups": [2050]}, None),
        ({"uid": 2001}, None),
        ({"uid": 7}, "is to have uid 7, there it has 2001"),
        ({"gid": 7}, "is to have gid 7, there it has 2002"),
        ({"groups": [2050, 7]}, "is to be in group 7, there it is not"),
        ({"login": "root"}, "no account called root"),
        (None, "no token of theirs"),
    ],
)
def test_what_a_token_claims_must_be_so(
    world: World, claimed: dict[str, Any] | None, says: str | None
) -> None:
    replace_site(world, tenant={"accounts": "claims"})
    observe(world)
    ask(world, claimed=claimed)
    users_tick(world.context)
    found = row(world)
    assert (says in found.reason) if says else found.login == "alice"


def test_claims_of_a_tenant_that_is_not_believed_are_nothing(world: World) -> None:
    observe(world)
    ask(world, claimed={"login": "bob", "uid": 7})
    users_tick(world.context)
    assert (row(world).login, row(world).uid) == ("alice", 2001)


def test_the_bridges_own_account_is_everybodys_on_a_laptop(world: World) -> None:
    replace_site(world, session="local")
    observer = observe(world, ALICE.replace(b"alice", b"me"), **{"id -un": b"me\n"})
    ask(world)
    users_tick(world.context)
    assert row(world).login == "me"
    assert observer.asked[0] == ["id", "-un"]


class Owner:
    """A session as the account, which sees what a test gives."""

    def __init__(self, said: bytes | Exception) -> None:
        self.said = said
        self.logins: list[str] = []
        self.asked: list[list[str]] = []

    def session(self, login: str) -> Owner:
        self.logins.append(login)
        return self

    def run(self, argv: list[str], **_given: Any) -> Completed:
        self.asked.append(argv)
        if isinstance(self.said, Exception):
            raise self.said
        return Completed(1, self.said, b"stat: cannot stat")


MOUNTS = [
    {"host_path": "/a/{login}", "container_path": "/a", "if_missing": "skip"},
    {"host_path": "/b", "container_path": "/b", "if_missing": "refuse"},
    {"host_path": "/c", "container_path": "/c"},
]


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        (b"directory:/a/alice\ndirectory:/b\n", {"/a/alice": True, "/b": True}),
        (b"regular file:/a/alice\ndirectory:/b\n", {"/a/alice": False, "/b": True}),
        (b"", {"/a/alice": False, "/b": False}),
        (CommandTimeout("a filesystem that does not answer"), {"/a/alice": False, "/b": False}),
    ],
)
def test_the_account_itself_looks_for_the_mounts(
    world: World, said: Any, seen: dict[str, bool]
) -> None:
    replace_site(world, tenant={"mounts": MOUNTS})
    observe(world)
    owner = Owner(said)
    replace_context(world, sessions=owner)
    ask(world)
    users_tick(world.context)
    assert row(world).paths == seen
    assert owner.logins == ["alice"]
    assert owner.asked == [["stat", "-L", "-c", "%F:%n", "--", "/a/alice", "/b"]]


def test_where_no_session_opens_the_question_waits(world: World) -> None:
    replace_site(world, tenant={"mounts": MOUNTS})
    observe(world)
    replace_context(world, sessions=Owner(ConnectFailed("the spawner has ended")))
    ask(world)
    users_tick(world.context)
    assert row(world).answered == 0


def test_actors_follow_their_owner(each_world: World) -> None:
    mounts = [{"host_path": "/work/{uid}", "container_path": "/work"}]
    replace_site(each_world, tenant={"mounts": mounts})
    moved = each_world.actor(uid=1, gid=2, mounts=[])
    other = each_world.actor(owner="bob", uid=1, gid=2)
    ask(each_world)
    observe(each_world)
    users_tick(each_world.context)
    with each_world.database.read() as session:
        now = session.get_one(Actor, moved.id)
        assert (now.uid, now.gid) == (2001, 2002)
        assert now.mounts == [{"host_path": "/work/2001", "container_path": "/work", "mode": "ro"}]
        assert session.get_one(Actor, other.id).uid == 1
