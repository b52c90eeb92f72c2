"""Where images come from and how they are kept.

Lock time: only small tables are touched. Compatibility: the release before this one was never made.

What was READY is asked for anew, since nobody knows the digests of its files. Actors go on with
what they have until that is done.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_OLD, _NEW = ("REQUESTED", "READY", "ERROR"), ("REQUESTED", "READY", "ERROR", "EVICTED")
_OLD_KEY = ("cluster", "tenant", "reference")
_NEW_KEY = ("cluster", "tenant", "owner", "reference")
_READY = "status <> 'READY' or (digest is not null and sif_path is not null)"
_REQUIRED = ("owner", "is_signed")


def upgrade() -> None:
    with op.batch_alter_table("images") as images:
        for column in _added():
            images.add_column(column)
    _change(_NEW, _NEW_KEY)
    op.execute("UPDATE images SET status = 'REQUESTED', attempts = 0 WHERE status = 'READY'")
    with op.batch_alter_table("arrays") as arrays:
        arrays.add_column(sa.Column("sif_bytes", sa.BigInteger(), nullable=True))
        arrays.add_column(sa.Column("sif_sha256", sa.String(length=64), nullable=True))
    op.create_table(
        "registry_logins",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("login", sa.String(length=255), nullable=False),
        sa.Column("password", sa.Text(), nullable=False),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_update_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "username", "host", name=op.f("pk_registry_logins")),
    )


def downgrade() -> None:
    op.drop_table("registry_logins")
    with op.batch_alter_table("arrays") as arrays:
        arrays.drop_column("sif_sha256")
        arrays.drop_column("sif_bytes")
    op.execute("UPDATE images SET status = 'ERROR' WHERE status = 'EVICTED'")
    _change(_OLD, _OLD_KEY)
    for column in _added():
        op.drop_column("images", column.name)


def _added() -> tuple["sa.Column[Any]", ...]:
    return (
        sa.Column("owner", sa.String(length=64), nullable=False, server_default=""),
        sa.Column("names", sa.JSON(), nullable=True),
        sa.Column("source_bytes", sa.BigInteger(), nullable=True),
        sa.Column("is_signed", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("sif_bytes", sa.BigInteger(), nullable=True),
        sa.Column("sif_sha256", sa.String(length=64), nullable=True),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
    )


def _change(words: tuple[str, ...], key: tuple[str, ...]) -> None:
    """Change the table's checks and its key; SQLite copies it for that, to the form given here."""
    table = sa.Table(
        "images",
        sa.MetaData(),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("cluster", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("reference", sa.String(length=512), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("status_message", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("digest", sa.String(length=128), nullable=True),
        sa.Column("sif_path", sa.Text(), nullable=True),
        sa.Column("config", sa.JSON(), nullable=True),
        sa.Column("create_time", sa.DateTime(timezone=True), nullable=False),
        *_added(),
        sa.CheckConstraint(_READY, name=op.f("ck_images_ready_has_file")),
        sa.CheckConstraint(f"status IN {words}", name=op.f("ck_images_imagestatus")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_images")),
        sa.UniqueConstraint(*key, name=op.f("uq_images_cluster")),
    )
    if op.get_bind().dialect.name == "sqlite":
        with op.batch_alter_table("images", copy_from=table, recreate="always") as images:
            for column in _REQUIRED:
                images.alter_column(column, server_default=None)
        return
    op.drop_constraint(op.f("ck_images_imagestatus"), "images", type_="check")
    op.create_check_constraint(op.f("ck_images_imagestatus"), "images", f"status IN {words}")
    op.drop_constraint(op.f("uq_images_cluster"), "images", type_="unique")
    op.create_unique_constraint(op.f("uq_images_cluster"), "images", key)
    for column in _REQUIRED:
        op.alter_column("images", column, server_default=None)
