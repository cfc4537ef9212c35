"""``make prove``: marketd, whole, ended at every turn of its event loop and failed at every call that leaves it.

The real commands over a real PostgreSQL and the rehearsal exchange. A point is one run that is struck once, held
against the promises, and started again; see ``points``. ``python -m tests.prove --help`` tells how to ask for one.
"""
