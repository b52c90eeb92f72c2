"""Who a tenant's users are: what their tokens say, and which account of the cluster they have."""

from __future__ import annotations

from pydantic import Field

from bridge.sites.kinds import Login
from bridge.sites.table import Table

WSO2_USER = "http://wso2.org/claims/enduser"
WSO2_ROLES = "http://wso2.org/claims/role"
TAPIS_USER = "tapis/username"
TAPIS_TENANT = "tapis/tenant_id"


class Claims(Table):
    """Names of the claims of a tenant's tokens; of several, the first that a token has counts."""

    username: tuple[str, ...] = Field(
        (WSO2_USER, TAPIS_USER), min_length=1, description="The user; up to an `@`."
    )
    roles: tuple[str, ...] = Field(
        (WSO2_ROLES,), description="The roles: a list, or a text with commas."
    )
    tenant: tuple[str, ...] = Field(
        (TAPIS_TENANT,), min_length=1, description="The tenant, where tokens name it."
    )
    login: str | None = Field(None, description='The account\'s name (`accounts = "claims"`).')
    uid: str | None = Field(None, description='The account\'s uid (`accounts = "claims"`).')
    gid: str | None = Field(None, description='The account\'s gid (`accounts = "claims"`).')
    groups: str | None = Field(
        None, description='The account\'s further gids, a list (`accounts = "claims"`).'
    )


class TableAccount(Table):
    """The account of one user of a tenant."""

    login: Login = Field(description="The account's name on the cluster.")
    uid: int | None = Field(None, gt=0, description="Its uid; it must agree with the cluster's.")
    gid: int | None = Field(None, gt=0, description="Its gid; it must agree with the cluster's.")
    groups: tuple[int, ...] | None = Field(
        None, description="Its further gids; they must agree with the cluster's."
    )
