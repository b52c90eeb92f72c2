"""``/actors`` and ``/actors/<id>`` (abaco_contract.md 3.1, 3.2)."""

from __future__ import annotations

from flask import Blueprint, Response

from bridge.api.audit import changing, note
from bridge.api.context import case, context, identity, links
from bridge.api.describe import describe
from bridge.api.envelope import success, success_in_pages
from bridge.api.parsing import read_fields, read_page
from bridge.api.search import FoundActors, SearchQuery, answer_search, is_search
from bridge.api.views import ActorView, show_actor
from bridge.core.actors import ActorDescription, ActorUpdate, parse_description, parse_update
from bridge.core.case import spell_object
from bridge.core.statuses import Level
from bridge.services.access import NO_ACTOR, find_actor
from bridge.services.accounts import Account, claimed_by, find_account
from bridge.services.actors import (
    check_restricted,
    check_site,
    list_actors,
    register_actor,
    update_actor,
)
from bridge.services.batch import cluster_of
from bridge.services.deletion import delete_actor, end_left, forget_outputs
from bridge.services.logins import Person

blueprint = Blueprint("actors", __name__, url_prefix="/actors")


# Of an actor's messages that wait, so many pieces end before a delete is answered.
PIECES = 50


@blueprint.get("")
@describe("list_actors", query=SearchQuery, result=list[ActorView] | FoundActors)
def list_all() -> Response:
    """List the actors that the caller may read; with filters, search them."""
    if is_search():
        return answer_search("actors", "Actors search completed successfully.")
    to, wanted = links(), case()
    pages = (
        [spell_object(show_actor(actor, to), wanted) for actor in actors]
        for actors in list_actors(context().database, identity(), **read_page())
    )
    return success_in_pages(pages, "Actors retrieved successfully.")


@blueprint.post("")
@describe("create_actor", body=ActorDescription, result=ActorView, gives={"actor_id": "id"})
def register() -> Response:
    """Register an actor; it becomes READY when its image is on the cluster."""
    here, caller = context(), identity()
    fields = read_fields(case())
    description = parse_description(fields.get, fields.spell)
    check_restricted(description, caller)
    check_site(description, here.site, caller.tenant)
    account = _find_account(description, caller.username)
    with changing() as session:
        actor = register_actor(session, caller, here.site, description, account, here.now())
        note(object=f"actor {actor.id}")
    shown = spell_object(show_actor(actor, links()), case())
    return success(shown, "Actor created successfully.")


@blueprint.get("/<actor_id>")
@describe("get_actor", result=ActorView)
def get(actor_id: str) -> Response:
    """Show one actor."""
    with context().database.read() as session:
        actor = find_actor(session, identity(), actor_id, Level.READ, missing=NO_ACTOR)
    shown = spell_object(show_actor(actor, links()), case())
    return success(shown, "Actor retrieved successfully.")


@blueprint.put("/<actor_id>")
@describe("update_actor", body=ActorUpdate, result=ActorView)
def replace(actor_id: str) -> Response:
    """Replace an actor's description; with another image, or `force`, it starts anew."""
    here, caller = context(), identity()
    with here.database.read() as session:
        actor = find_actor(session, caller, actor_id, Level.UPDATE, missing=NO_ACTOR)
    fields = read_fields(case())
    change = parse_update(fields.get, fields.spell)
    check_restricted(change, caller)
    check_site(change, here.site, caller.tenant)
    # The owner's account, whoever asks: whose actor it is never changes.
    account = _find_account(change, actor.owner)
    with changing() as session:
        actor = update_actor(session, caller, here.site, actor.id, change, account, here.now())
        note(object=f"actor {actor.id}")
    shown = spell_object(show_actor(actor, links()), case())
    return success(shown, "Actor updated successfully.")


def _find_account(description: ActorDescription, owner: str) -> Account:
    """Return the account that the owner has where the actor is to run."""
    here, caller = context(), identity()
    cluster = cluster_of(here.site.tenants[caller.tenant], description.batch)
    claimed = claimed_by(caller) if caller.username == owner else None
    person = Person(cluster, caller.tenant, owner)
    return find_account(here.database, here.site, person, here.clock, here.waits, claimed)


@blueprint.delete("/<actor_id>")
@describe("delete_actor")
def delete(actor_id: str) -> Response:
    """Delete an actor; what it runs is stopped within the scheduler's next ticks."""
    here = context()
    with changing() as session:
        deletion = delete_actor(session, identity(), actor_id, here.now())
        if deletion is not None:
            note(object=f"actor {deletion.actor_id}")
    is_done = True
    if deletion is not None:
        is_done = end_left(here.database, deletion.actor_id, here.now(), PIECES)
        forget_outputs(here.database, deletion.actor_id)
    if deletion is not None and (deletion.is_running or not is_done):
        return success(
            None,
            "Actor deleted successfully, though Abaco is still cleaning up some of the actor's "
            "resources.",
        )
    return success(None, "Actor deleted successfully.")
