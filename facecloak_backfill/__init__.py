"""`facecloak backfill`: cloaks the photos of an archive, in a folder or in object storage, each exactly once.

Reads top-down: the command plans a run (which photos, of whom, what is done already), a pool of processes or a Ray
cluster does the work, each photo by :mod:`facecloak_backfill.photo_work`, and the run's ledger keeps what became of it.
"""
