"""What runs on the cluster as the actor's owner: agent and worker, and the spool they share.

Python 3.6 or later and the standard library alone: compute nodes have their system's python3 and
nothing of ours installed. The modules are packed as one zipapp (bridge.node.build), named by its
hash. This page is the protocol between the bridge and the workers; `PROTOCOL_VERSION` changes when
it does.

The spool of one array, a directory of the owner's with mode 0700::

    array.json                  what all messages share (see below); written before submission
    inbox/000001.jsonl          a chunk: messages, one a line
    staged/000002.<attempt>     a chunk on its way into the inbox of an array that runs already
    claimed/000001.<worker>.jsonl   a chunk that this worker owns
    returned/000001.jsonl       a chunk that the bridge took back
    payload/<execution id>      a payload too large for a line
    owner                       the array job id that owns this array, made by link(2)
    journal/<worker>.jsonl      appended by that worker alone
    journal/<worker>.fenced     the same file after the bridge has fenced the worker off
    logs/<execution id>         a log too large for the journal
    results/<execution id>      results too large for the journal, one after another
    cancel/<execution id>       order: end this execution
    leave/<index>               order: the worker of this index takes nothing more
    stop                        order: take nothing more

The bridge may put more chunks into the inbox while the array runs, with the next numbers: a worker
without work waits `idle_timeout_s` for them, or until it is told to leave. Such a chunk is written
to staged/ first, under a name of that one attempt, which the database then keeps; then it is
renamed into the inbox. So a step that a crash cut off may be repeated, by whomever, and no chunk
comes twice: a rename whose source is gone was done before. To a stateful actor it gives one message
at a time, the next when the one before is final, so that each carries the state that the one before
left.

A worker is named ``<index>.<restart count>``. Before all else it makes `owner`, or reads what
another has made; if that names another array job, it leaves without writing anything: the name of
its journal belongs to the owner's worker of the same index.

The index is that of the array task, or, where tasks have `slots`, that of the task times `slots`
plus the number of the slot. Such a task is one process that starts a worker for each slot, pinned
to CPUs and GPUs of its own, and waits for them (bridge.node.slots). For one that is killed, which
the others survive, it writes the last record of the journal.

A worker creates its journal with O_EXCL, so the bridge can fence a worker that has not joined yet
by creating the journal itself.

It claims a chunk by renaming it from inbox/ to claimed/ with its own name: rename is atomic, has
one winner, and says in one step who owns the chunk; the bridge takes chunks back by the same
operation. (The design spoke of O_EXCL files in claims/. A rename needs no second file and cannot be
cut between "claimed" and "by whom".) A rename that a network filesystem repeats may answer ENOENT
although it worked: the claimed name is looked for before giving up. A worker learns that it was
fenced when it next looks, so one more of its claims may appear in claimed/ after the fence, of
which nothing will start.

Never twice: before a container starts, the worker appends a `started` record, flushes it to the
disk, and then looks whether its journal still stands under its name. The bridge fences a worker
that is gone, or may be, by renaming its journal; whatever is not `started` in there can never be
started by that worker any more and goes back to the queue. What the one before has left is written
in the same write: so a worker that is killed between the two leaves a message that ran, and is
`started`, and has no end.

Orders are looked at ten times a second at most, however many messages run meanwhile: a message
whose turn comes within a tenth of a second after an order may start yet. It is then ended as any
that runs: while it runs its worker looks about once a second whether it is to be cancelled.

``array.json``::

    version, array, actor      protocol version, the array's token, the actor's id
    apptainer, sif             the runtime's program, the image file
    sif_bytes, sif_sha256      its length and digest, null where they are not compared
    sif_uid                    the service user, to whom it belongs if not to the owner
    command                    list: the image's Entrypoint + Cmd
    workdir                    the image's WorkingDir or null
    binds                      list of [host path, container path, "ro" | "rw"]
    environment                object: what all messages share; a message's own names win
    log_limit_bytes            a longer log is cut while it streams
    inline_log_bytes           a longer log goes to logs/ instead of the journal; and so do results
                               to results/, from the first on that would exceed it in all
    max_run_time_s             limit of one execution, 0 for none
    kill_grace_s               from SIGTERM to SIGKILL
    idle_timeout_s             how long a worker without work waits for more chunks
    time_limit_s               of the array task, where Slurm does not tell its end
    memory_mib                 limit of one message's processes together, 0 for none; with several
                               tasks it is Slurm's to enforce
    max_result_bytes           results of one message together, each counted as 1 KiB at least; what
                               is beyond is not taken
    ntasks                     more than 1: the container is started so often, by srun (MPI)
    gpus                       whether the container sees the GPUs that Slurm gave
    reuse                      "none": a container each; "image": a container each, made after one
                               that the worker prepares (bridge.node.start_image); "process": the
                               image's program takes message after message (bridge.node.dialogue)
    workers, slots             workers of the array, and of each array task

A chunk's first line may be ``{"shared": {...}}``: environment of its messages, over the array's.

A message (a line of a chunk)::

    id                         execution id
    env                        object: this message's environment; wins over the array's
    msg                        text for MSG; absent for binary messages
    data | file                binary messages: base64, or true when payload/<id> holds it
    state                      stateful actors: the JSON text that ``/_abaco_state.json`` holds at
                               the start; absent for others, who have no such file

The container's environment is the image's, the array's, the message's, MSG, and from the worker
``_abaco_worker_id`` (bridge.node.names). Names that begin with ``_bridge_shim_`` are ours.

Journal records, each a line of JSON with ``t`` and ``at`` (seconds since the epoch). A reader skips
what is no such line: a write that failed half way leaves one, or an empty one::

    joined    worker, host, pid, job (this task's job id), array_job
    started   id
    progress  id, log (what was added to it since the last such record, up to inline_log_bytes in
              all), results: now and then while a container runs
    finished  id, started_at, exit_code (0..255; 128+n for signal n), runtime_error (text when the
              container runtime failed and the actor never ran, else null), ended_by (null,
              "cancel", "time_limit", "signal", "memory"), oom_killed (whether a process was killed
              for want of memory, by the worker or the kernel), pid, cpu_ns, max_rss_kib, io_bytes
              (these count the runtime too; 0 when unknown), log (UTF-8, what is none of it
              replaced; null when logs/<id> has it, as bytes; empty with a runtime_error),
              log_bytes, log_truncated, notes (what the worker has to say at the end of the log,
              lines), results, state (the JSON text that the actor left in its file; null when it
              left none, or did not change it).
              Without a `started` before it: ended by "cancel" before it ran (exit_code 143).
    fell_back to ("none"), why: this worker cannot start containers as `reuse` asks, and goes on
              with another
    bad_line  error: a line of a chunk that has no id and was passed over
    left      why ("empty", "stop", "leave", "time", "signal"; "broken" with an `error` when no
              container can start on this node, "killed" with an `error` of a slot),
              remaining (ids not started of the chunk in hand)

`results` are those that no record had before, null when there are none: ``first``, the number of
the first of them (from 0; a reader that has it already passes over it), and either ``data``, a list
of base64, or ``offset`` and ``lengths``: where they lie in results/<id>, one after another. No line
is longer than bridge.node.journal.MAX_LINE_BYTES.

What a container finds besides the image: ``/_abaco_binary_data``; ``/_abaco_results.sock``, a
datagram socket of the message's own, each datagram a result (an empty one is none, since it would
look like the end of the queue); ``/_abaco_state.json``. With several tasks there is no socket: it
would be on one node alone.

The worker exits 0 when it left, 2 when it could not work or go on, 3 when it was fenced.
"""

PROTOCOL_VERSION = 1
