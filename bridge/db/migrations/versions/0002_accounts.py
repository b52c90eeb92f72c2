"""Accounts of tenants' users.

Lock time: only small tables are touched. Compatibility: the release before this one was never made.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # What clusters said of users is asked anew: it was kept without the tenant.
    op.drop_table("cluster_users")
    op.create_table(
        "cluster_users",
        sa.Column("cluster", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("answered", sa.Integer(), nullable=False),
        sa.Column("claimed", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("login", sa.String(length=64), nullable=True),
        sa.Column("uid", sa.BigInteger(), nullable=True),
        sa.Column("gid", sa.BigInteger(), nullable=True),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.Column("home", sa.Text(), nullable=False),
        sa.Column("paths", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "(login is null) = (uid is null) and (uid is null) = (gid is null)",
            name=op.f("ck_cluster_users_whole_account"),
        ),
        sa.PrimaryKeyConstraint("cluster", "tenant", "username", name=op.f("pk_cluster_users")),
    )
    # Without a copy of the table, to which others refer.
    op.add_column(
        "arrays",
        sa.Column("login", sa.String(length=64), nullable=False, server_default=sa.text("''")),
    )
    op.execute("update arrays set login = username")


def downgrade() -> None:
    op.drop_column("arrays", "login")
    op.drop_table("cluster_users")
    op.create_table(
        "cluster_users",
        sa.Column("cluster", sa.String(length=64), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("uid", sa.BigInteger(), nullable=True),
        sa.Column("gid", sa.BigInteger(), nullable=True),
        sa.Column("home", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "username", name=op.f("pk_cluster_users")),
    )
