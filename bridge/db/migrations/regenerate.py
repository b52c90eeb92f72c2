"""Makes the single migration anew from the models: ``python -m bridge.db.migrations.regenerate``.

Only while no release has been made: a database at the old one has to be made anew, too.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from sqlalchemy import create_engine

from bridge.db.upgrade import alembic_config

VERSIONS = Path(__file__).parent / "versions"


def main() -> None:
    """Replace every file of versions/ by one that makes the models' tables."""
    for path in VERSIONS.glob("*.py"):
        path.unlink()
    with create_engine("sqlite://").connect() as connection:
        config = alembic_config(connection)
        config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
        command.revision(config, message="Initial schema", autogenerate=True, rev_id="0001")


if __name__ == "__main__":
    main()
