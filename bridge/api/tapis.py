"""``/v3/sites`` and ``/v3/tenants``: as much of Tapis's tenants API as tapipy needs in a container.

`tapipy.actors.get_client()` names no tenant and looks in these lists for the one whose base URL it
was given (clients.md 2.4). A caller is shown its own tenant alone, under the address that it used.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, Response, request

from bridge.api.context import context, identity
from bridge.api.describe import describe
from bridge.api.envelope import success

blueprint = Blueprint("tapis", __name__, url_prefix="/v3")


@blueprint.get("/sites")
@describe("list_sites", result=list[dict[str, str]])
def sites() -> Response:
    """List the one site, as tapipy asks for it."""
    site = {"site_id": context().site.name, "site_master_tenant_id": identity().tenant.lower()}
    return success([site], "Sites retrieved successfully.")


@blueprint.get("/tenants")
@describe("list_tenants", result=list[dict[str, str]])
def tenants() -> Response:
    """List the caller's tenant, as tapipy asks for it."""
    site = context().site
    called = request.host == urlsplit(site.callback_url).netloc
    tenant = {
        "tenant_id": identity().tenant.lower(),
        "site_id": site.name,
        "base_url": (site.callback_url if called else site.public_url).rstrip("/"),
    }
    return success([tenant], "Tenants retrieved successfully.")
