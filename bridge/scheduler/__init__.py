"""Ticks of the one active scheduler: plan, submit, watch, settle. It meets the API in the database.

A tick takes a database, sessions, a Slurm port and a clock, does one bounded round and returns a
small report. Everything that must survive a crash is committed before the step that needs it:

    plan     executions are bound to an array with its token      (committed)
    spool    the owner's files are written                        (may be repeated)
    submit   sbatch as the owner, the token as job name
    adopt    the job id is recorded                               (committed)
    feed     further messages are bound to an array that runs     (committed)
             their chunks are staged, noted                       (committed)
             and renamed into the inbox                           (may be repeated)
    watch    one squeue for all arrays; one sacct for those that squeue no longer lists
    lead out an array with nothing to do gets nothing more        (committed)
             its workers are told to leave
    close    inbox taken back, workers fenced; nothing more can start
    settle   what ran is final, what was started and lost is ERROR, the rest goes back to the queue

A plan is never submitted twice. One whose submission is unclear is looked for by name; if Slurm
does not know it after `lost_after_s`, it is closed and its messages get a new plan with a new
token. A late job of the old one finds an empty inbox and leaves. A chunk comes to the workers once
(bridge.scheduler.feed); of a stateful actor one message is bound at a time.

A round harvests before it plans: what a message leaves is there for the next one. Rounds come twice
a second; a message that has just come is planned and fed at once, and what was given out just now
is looked at ten times a second for a while (bridge.scheduler.pace, bridge.scheduler.hot).
Submissions have threads of their own, since one sbatch may hang for minutes.
"""
