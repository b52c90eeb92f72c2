"""Use cases, without HTTP and without a cluster: what may be done, by whom, and what follows.

Each takes an SQLAlchemy session and does not commit; the request, which opened the session,
does. The exceptions take the database, because they must not hold a transaction for long: what
waits for another process (`accounts`), and what gives a long list page by page.
"""
