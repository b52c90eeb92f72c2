"""Ticks of the one active scheduler: plan, submit, watch, settle. It meets the API in the database.

A tick takes a database, sessions, a Slurm port and a clock, does one bounded round and returns a
small report. Everything that must survive a crash is committed before the step that needs it:

    plan     executions are bound to an array with its token      (committed)
    spool    the owner's files are written                        (may be repeated)
    submit   sbatch as the owner, the token as job name
    adopt    the job id is recorded                               (committed)
    watch    one squeue for all arrays; one sacct for those that squeue no longer lists
    close    inbox taken back, workers fenced; nothing more can start
    settle   what ran is final, what was started and lost is ERROR, the rest goes back to the queue

A plan is never submitted twice. One whose submission is unclear is looked for by name; if Slurm
does not know it after `lost_after_s`, it is closed and its messages get a new plan with a new
token. A late job of the old one finds an empty inbox and leaves.
"""
