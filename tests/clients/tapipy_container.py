"""tapipy's helpers for containers, outside of one: in the environment that a container had.

BRIDGE says `message` and `actor`. The container's address of the bridge is replaced by ours.
"""

from common import BRIDGE, done
from tapipy.actors import get_client, get_context

context = get_context()
assert context.message_dict == BRIDGE["message"], context.message_dict
assert context.content_type == "application/json", context.content_type
assert context.actor_id == BRIDGE["actor"], context.actor_id
assert context.actor_dbid.endswith(BRIDGE["actor"]), context.actor_dbid
assert context.username == BRIDGE["user"], context.username
assert context.execution_id
assert context.worker_id
assert context.actor_repo == BRIDGE["images"]["probe"], context.actor_repo
done("the context")

client = get_client()  # names no tenant: tapipy asks the bridge for it
assert client.tenant_id == BRIDGE["tenant"].lower(), client.tenant_id
assert client.actors.get_actor(actor_id=BRIDGE["actor"]).owner == BRIDGE["user"]
done("a client with the container's token")
