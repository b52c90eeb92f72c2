"""Use cases, without HTTP and without a cluster: what may be done, by whom, and what follows.

Each takes an SQLAlchemy session and does not commit; the request, which opened the session,
does. The one exception is `accounts`, which waits for another process and so must not hold a
transaction: it takes the database.
"""
