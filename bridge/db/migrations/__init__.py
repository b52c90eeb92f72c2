"""The schema's migrations, run by `bridge.db.upgrade`.

While there is a single one, it is made anew from the models in one line:

    .venv/bin/python -m bridge.db.migrations.regenerate
"""
