"""What users of tapipy do, with the stock client: every operation it has for actors."""

import hashlib

from common import BRIDGE, done, expect, wait_until
from tapipy.errors import BadRequestError, NotFoundError
from tapipy.tapis import Tapis


def connect(token):
    """Return a client. It asks nobody but the bridge: the tenant is named, so it looks for none."""
    return Tapis(base_url=BRIDGE["url"], tenant_id=BRIDGE["tenant"].lower(), access_token=token)


def final(client, actor, execution):
    """Return the execution once it is COMPLETE."""
    return wait_until(
        lambda: client.actors.get_execution(actor_id=actor, execution_id=execution),
        lambda found: found.status in ("COMPLETE", "ERROR"),
        "the execution to end",
    )


def log(client, actor, execution):
    """Return what an execution printed, once it has ended well."""
    ended = final(client, actor, execution)
    assert (ended.status, ended.exit_code) == ("COMPLETE", 0), ended
    return client.actors.get_execution_logs(actor_id=actor, execution_id=execution).logs.strip()


def register(client, image, **fields):
    """Return the id of a READY actor."""
    added = client.actors.create_actor(image=BRIDGE["images"][image], **fields)
    assert (added.owner, added.image) == (BRIDGE["user"], BRIDGE["images"][image]), added
    assert added.max_workers is None, added  # tapipy shows nulls, and snake_case names
    wait_until(
        lambda: client.actors.get_actor(actor_id=added.id).status,
        lambda status: status == "READY",
        f"{image} to be READY",
    )
    return added.id


def actors(client):
    """Register, look, list, update."""
    actor = register(client, "wc", description="counts words", default_environment={"A": "1"})
    assert actor in [one.id for one in client.actors.list_actors()]
    assert len(client.actors.list_actors(limit=1)) == 1
    updated = client.actors.update_actor(
        actor_id=actor, image=BRIDGE["images"]["wc"], description="still counts words"
    )
    assert updated.description == "still counts words", updated
    expect(NotFoundError, lambda: client.actors.get_actor(actor_id="nosuchactor1"))
    done("actors")
    return actor


def messages(client, actor):
    """Post text and JSON, and bytes to another actor; read executions, logs, lists."""
    sent = client.actors.send_message(actor_id=actor, message="three short words")
    assert log(client, actor, sent.execution_id) == "3"
    execution = client.actors.get_execution(actor_id=actor, execution_id=sent.execution_id)
    assert execution.executor == BRIDGE["user"]
    assert execution.worker_id
    listed = client.actors.list_executions(actor_id=actor)
    assert [one.id for one in listed.executions] == [sent.execution_id], listed
    assert listed.total_executions == 1
    assert client.actors.get_messages(actor_id=actor).messages == 0
    purged = client.actors.delete_pending_messages(actor_id=actor)
    assert "purged" in purged.msg, purged

    answer = client.actors.send_message(actor_id=actor, message="and two", _abaco_synchronous=True)
    assert answer.strip() == b"2", answer
    done("text messages, also synchronous")

    looping = register(client, "sleep-loop")
    sent = client.actors.send_json_message(
        actor_id=looping, message={"sleep": 0.1, "iterations": 2}
    )
    assert log(client, looping, sent.execution_id).endswith("iteration 2 of 2")
    client.actors.delete_actor(actor_id=looping)
    done("JSON messages")

    digests = register(client, "binary-digest")
    data = bytes(range(256)) * 1000
    sent = client.actors.send_binary_message(actor_id=digests, message=data)
    shown = log(client, digests, sent.execution_id)
    assert shown == f"{len(data)} {hashlib.sha256(data).hexdigest()}", shown
    client.actors.delete_actor(actor_id=digests)
    expect(NotFoundError, lambda: client.actors.get_actor(actor_id=digests))
    done("binary messages")


def results(client):
    """Read results one by one, as bytes."""
    actor = register(client, "probe")
    sent = client.actors.send_message(actor_id=actor, message="{'send': ['a', 'b']}")
    assert final(client, actor, sent.execution_id).status == "COMPLETE"
    found = []
    while one := client.actors.get_execution_result(actor_id=actor, execution_id=sent.execution_id):
        found.append(one)
    assert found == [b"a", b"b"], found
    client.actors.delete_actor(actor_id=actor)
    done("results")


def state(client):
    """Read and replace the state; let the actor change it."""
    actor = register(client, "state-counter", stateless=False)
    client.actors.update_state(actor_id=actor, request_body={"count": 41})
    sent = client.actors.send_message(actor_id=actor, message="file")
    assert log(client, actor, sent.execution_id) == "42"
    assert client.actors.get_state(actor_id=actor).state.count == 42
    client.actors.delete_actor(actor_id=actor)
    done("state")


def sharing(client, actor):
    """Permissions, nonces and aliases."""
    other = connect(BRIDGE["other_token"])
    expect(BadRequestError, lambda: other.actors.get_messages(actor_id=actor))
    client.actors.update_permissions(actor_id=actor, user=BRIDGE["other"], level="EXECUTE")
    permissions = client.actors.list_permissions(actor_id=actor)
    assert vars(permissions) == {BRIDGE["user"]: "UPDATE", BRIDGE["other"]: "EXECUTE"}, permissions
    sent = other.actors.send_message(actor_id=actor, message="one two")
    assert log(client, actor, sent.execution_id) == "2"

    nonce = client.actors.create_nonce(actor_id=actor, level="READ", max_uses=3)
    assert (nonce.level, nonce.max_uses, nonce.remaining_uses) == ("READ", 3, 3), nonce
    assert client.actors.get_nonce(actor_id=actor, nonce_id=nonce.id).id == nonce.id
    assert [one.id for one in client.actors.list_nonces(actor_id=actor)] == [nonce.id]
    client.actors.delete_nonce(actor_id=actor, nonce_id=nonce.id)
    assert client.actors.list_nonces(actor_id=actor) == []

    name = "tapis-" + actor.lower()
    made = client.actors.create_alias(alias=name, actor_id=actor)
    assert (made.alias, made.actor_id) == (name, actor), made
    assert client.actors.get_alias(alias=name).actor_id == actor
    assert name in [one.alias for one in client.actors.list_aliases()]
    again = client.actors.update_actor_alias(alias=name, actor_id=actor)
    assert again.actor_id == actor
    client.actors.delete_alias(alias=name)
    expect(NotFoundError, lambda: client.actors.get_alias(alias=name))
    done("permissions, nonces, aliases")


def workers_and_search(client, actor):
    """Ask for workers as an administrator; search."""
    admin = connect(BRIDGE["admin_token"])
    expect(BadRequestError, lambda: client.actors.manage_worker_pool_size(actor_id=actor, num=1))
    admin.actors.manage_worker_pool_size(actor_id=actor, num=1)
    listed = wait_until(lambda: client.actors.list_workers(actor_id=actor), len, "a worker")
    assert listed[0].image == BRIDGE["images"]["wc"], listed
    found = client.actors.search_database(search_type="executions", limit=2, skip=1)
    assert getattr(found, "_metadata").record_limit == 2, found  # noqa: B009
    assert len(found.search) == 2, found
    done("workers, search")


def main():
    """Run all."""
    client = connect(BRIDGE["token"])
    actor = actors(client)
    messages(client, actor)
    results(client)
    state(client)
    sharing(client, actor)
    workers_and_search(client, actor)
    client.actors.delete_actor(actor_id=actor)
    assert actor not in [one.id for one in client.actors.list_actors()]


main()
