"""What goes with messages to the cluster, for the owner and for other users."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.fernet import Fernet

from bridge.auth import SecretBox
from bridge.core.batch import KEYS
from bridge.db import Actor, Array, Config, ConfigTarget, Image
from bridge.node.dialogue import LABEL
from bridge.scheduler.binding import REFUSED_AT_ONCE
from bridge.services.images import NOT_FIT
from tests.factories.rows import START
from tests.unit.scheduler.test_feeding import use_cluster
from tests.unit.scheduler.world import BAD, QUEUED, World


def shared(array: Array) -> dict[str, str]:
    """Return what the messages of the array's first chunk share."""
    [chunk] = Path(array.spool, "inbox").iterdir()
    found: dict[str, str] = json.loads(chunk.read_text().splitlines()[0])["shared"]
    return found


def document(array: Array) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(array.spool, "array.json").read_text())
    return found


def add_config(world: World, actor: Actor, name: str, value: str, *, is_secret: bool) -> None:
    with world.database.begin() as session:
        session.add(
            Config(
                tenant=actor.tenant, name=name, value=value, is_secret=is_secret, actors=actor.id,
                author=actor.owner, create_time=START, last_update_time=START,
            )
        )  # fmt: skip
        session.flush()
        session.add(
            ConfigTarget(
                tenant=actor.tenant, name=name, identifier=actor.id, actor_id=actor.id
            )
        )  # fmt: skip


class TestToken:
    @pytest.mark.parametrize("token", [True, "true"])
    def test_is_the_owner_s_with_plain_use_s_role(self, world: World, token: object) -> None:
        world.post(world.actor(token=token))
        world.tick(2)
        text = shared(world.array())["_abaco_access_token"]
        claims = jwt.decode(text, options={"verify_signature": False})
        assert claims["tapis/username"] == "alice"
        assert claims["http://wso2.org/claims/role"] == "Internal/everyone"
        cluster = world.context.cluster
        lifetime_s = cluster.access_token_lifetime_s + cluster.time_limit_s
        assert claims["exp"] - claims["iat"] == lifetime_s

    @pytest.mark.parametrize("token", [False, "false"])
    def test_is_empty_where_none_is_wanted(self, world: World, token: object) -> None:
        world.post(world.actor(token=token))
        world.tick(2)
        assert shared(world.array())["_abaco_access_token"] == ""

    def test_is_empty_where_the_site_has_an_issuer_of_its_own(self, world: World) -> None:
        site = world.context.site
        tenant = site.tenants["PHYSICS"].model_copy(update={"private_key": None})
        tenants = {**site.tenants, "PHYSICS": tenant}
        changed = site.model_copy(update={"tenants": tenants})
        object.__setattr__(world.context, "site", changed)
        world.post(world.actor(token=True))
        world.tick(2)
        assert shared(world.array())["_abaco_access_token"] == ""

    def test_is_new_for_every_chunk(self, world: World) -> None:
        actor = world.actor(token=True)
        world.post(actor)
        world.tick(2)
        hand = world.hand()
        first = shared(world.array())
        hand.claim()
        hand.finish(hand.begin())
        world.post(actor)
        world.tick(60)
        assert shared(world.array()) != first


class TestConfigs:
    KEY = Fernet.generate_key()

    @pytest.fixture
    def actor(self, world: World) -> Actor:
        """An actor with a plain and a secret config."""
        box = SecretBox([Fernet(self.KEY)])
        object.__setattr__(world.context, "box", box)
        actor = world.actor(run_as_executor=True, token=True)
        add_config(world, actor, "plain", "1", is_secret=False)
        add_config(world, actor, "secret", box.encrypt("2"), is_secret=True)
        return actor

    def test_are_given_to_the_owner_s_containers(self, world: World, actor: Actor) -> None:
        world.post(actor)
        world.tick(2)
        found = ast.literal_eval(shared(world.array())["_actor_configs"])
        assert found == {"plain": "1", "secret": "2"}

    def test_secrets_and_token_are_for_no_other_user(self, world: World, actor: Actor) -> None:
        world.post(actor, username="bob")
        world.tick(2)
        found = shared(world.array())
        assert ast.literal_eval(found["_actor_configs"]) == {"plain": "1"}
        assert found["_abaco_access_token"] == ""

    def test_are_nowhere_but_in_the_owner_s_own_files(self, world: World, actor: Actor) -> None:
        world.post(actor)
        world.tick(2)
        array = world.array()
        [chunk] = Path(array.spool, "inbox").iterdir()
        assert chunk.stat().st_mode & 0o777 == 0o600
        assert "secret" not in Path(array.spool, "array.json").read_text()
        [job] = world.slurm.jobs.values()
        assert "secret" not in job.script

    def test_that_cannot_be_given_end_the_messages(self, world: World, actor: Actor) -> None:
        object.__setattr__(world.context, "box", None)
        [one] = world.post(actor)
        world.ticks(5, 2)
        assert world.statuses([one]) == [BAD]
        assert "Config secret cannot be given to containers" in world.execution(one).reason


class TestUsers:
    def test_each_has_arrays_of_its_own(self, world: World) -> None:
        actor = world.actor(run_as_executor=True)
        alices = world.post(actor, 2)
        bobs = world.post(actor, 2, username="bob")
        world.tick(2)

        arrays = {array.username: array for array in world.arrays()}
        assert set(arrays) == {"alice", "bob"}
        assert {world.execution(one).array_id for one in alices} == {arrays["alice"].id}
        assert {world.execution(one).array_id for one in bobs} == {arrays["bob"].id}
        assert "/bob/" in arrays["bob"].spool
        assert {job.username for job in world.slurm.jobs.values()} == {"alice", "bob"}

    def test_each_sees_directories_of_its_own(self, world: World) -> None:
        mounts = [{"host_path": "/work/alice", "container_path": "/work", "mode": "rw"}]
        actor = world.actor(run_as_executor=True, mounts=mounts)
        world.post(actor)
        world.post(actor, username="bob")
        world.tick(2)
        binds = {array.username: document(array)["binds"] for array in world.arrays()}
        assert binds["alice"] == [["/work/alice", "/work", "rw"]]
        assert binds["bob"][0] == ["/work/bob", "/work", "rw"]

    def test_one_whose_name_leads_elsewhere_is_refused(self, world: World) -> None:
        actor = world.actor(run_as_executor=True)
        [one] = world.post(actor, username="..")
        world.tick(2)
        assert world.statuses([one]) == [BAD]
        assert "cannot be part of a mount's path" in world.execution(one).reason

    def test_who_comes_first_is_not_passed_by_for_ever(self, world: World) -> None:
        actor = world.actor(run_as_executor=True, max_workers=1, mean_run_s=1)
        world.post(actor)
        world.tick(2)
        world.work_all()
        [bobs] = world.post(actor, username="bob")
        for _ in range(30):
            world.post(actor)
            world.tick()
            world.work_all()
            if world.execution(bobs).status.is_final:
                break
        assert world.starts[bobs] == 1


class TestLimits:
    def test_are_what_the_actor_asks_for(self, world: World) -> None:
        world.post(world.actor(mem_limit="512m", max_cpus=1_500_000_000))
        world.tick(2)
        [job] = world.slurm.jobs.values()
        assert job.directives["cpus-per-task"] == "2"
        assert job.directives["mem"] == "576M"
        assert document(world.array())["memory_mib"] == 512

    def test_batch_goes_to_slurm(self, world: World) -> None:
        policy = world.context.cluster.batch.model_copy(
            update={"max_gpus": 2, "max_ntasks": 4, "partitions": ("normal",)}
        )
        use_cluster(world, world.context.cluster.model_copy(update={"batch": policy}))
        asked = {"gpus": 2, "ntasks": 4, "partition": "normal", "time_limit": 600}
        world.post(world.actor(batch={**dict.fromkeys(KEYS), **asked}))
        world.tick(2)
        [job] = world.slurm.jobs.values()
        found = {name: job.directives[name] for name in ("gres", "ntasks", "partition", "time")}
        assert found == {
            "gres": "gpu:2", "ntasks": "4", "partition": "normal", "time": "0-00:10:00",
        }  # fmt: skip
        array = document(world.array())
        assert (array["ntasks"], array["gpus"], array["time_limit_s"]) == (4, True, 600)

    def test_what_the_site_no_longer_allows_ends_the_messages(self, world: World) -> None:
        actor = world.actor(batch={**dict.fromkeys(KEYS), "gpus": 1})
        ids = world.post(actor, 3)
        fine = world.post(world.actor())
        world.tick(2)
        assert world.statuses(ids) == [BAD] * 3
        assert "gpus: asked for 1, at most 0 is allowed" in world.execution(ids[0]).reason
        assert world.statuses(fine) == [QUEUED]
        assert world.messages() == 1

    def test_an_image_that_is_not_made_for_it_ends_the_messages(self, world: World) -> None:
        actor = world.actor(batch={"reuse": "process"})
        ids = world.post(actor, 2)
        world.tick(2)
        assert world.statuses(ids) == [BAD] * 2
        assert world.execution(ids[0]).reason == NOT_FIT

    def test_an_image_that_is_made_for_it_runs(self, world: World) -> None:
        actor = world.actor(batch={"reuse": "process"})
        with world.database.begin() as session:
            image = session.get_one(Image, actor.image_id)
            image.config = {**(image.config or {}), "Labels": {LABEL: "process"}}
        world.post(actor)
        world.tick(2)
        assert document(world.array())["reuse"] == "process"

    def test_a_queue_that_is_no_more_ends_the_messages(self, world: World) -> None:
        [one] = world.post(world.actor(queue="gone"))
        world.tick(2)
        assert "no longer has the queue 'gone'" in world.execution(one).reason

    def test_many_are_ended_in_pieces(self, world: World) -> None:
        world.post(world.actor(queue="gone"), REFUSED_AT_ONCE + 1)
        world.tick(2)
        assert world.queued() == 1
        world.tick(2)
        assert world.queued() == 0
