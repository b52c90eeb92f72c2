"""`reuse=process`: the image's own process stays in its container and takes message after message.

What passes between the two, and what an image's program has to do, is in bridge.node.dialogue.

The container is started as ever (bridge.node.start_none), once, and again when it has ended: with
the environment that all messages share, and with files whose content is replaced for each message
(a mount of a file follows the file, not its name). What is secret about a message (its token, its
configs) travels in its request alone, or in a file that nobody else can read.

A message's usage is what the counters of the process and of the children that it has waited for
grew by; its memory is the process's peak so far. A message at which the container ends has what the
container runtime used as well.
"""

import os
import shutil
from typing import Callable, Dict, List, Optional

from bridge.node import container, dialogue
from bridge.node.capture import Capture
from bridge.node.keeper import END_GRACE_S
from bridge.node.memory import MemoryWatch
from bridge.node.messages import Message
from bridge.node.process import Answer, Process
from bridge.node.results import RESULTS_SOCKET, Results, ResultsSocket
from bridge.node.start_none import StartNone, exit_code_of, explain, find_missing
from bridge.node.starter import KILLED, RUNTIME_FAILED, Ending, Outcome
from bridge.node.state import STATE_FILE, read_state, write_state
from bridge.node.usage import Usage

_EXPECTED_READY = "'ready json' or 'ready sh'"
_SAID_CHARS = 2000


class StartProcess(StartNone):
    """Starts the image's process when there is none, and hands it one message after another."""

    _process: Optional[Process] = None
    _memory: Optional[MemoryWatch] = None
    _form = dialogue.JSON
    _has_served = False  # whether this process has answered a message
    _has_state = False  # whether this process has the file of the state
    _has_data = False  # whether there is anything in the file of binary data
    _kills = 0  # processes that the kernel has killed so far, for want of memory

    def run(
        self,
        message: Message,
        log: Capture,
        results: Results,
        watch: Callable[[], Optional[Ending]],
    ) -> Outcome:
        """Have the process run one message; start it where there is none."""
        if message.problem:
            return Outcome(RUNTIME_FAILED, message.problem)
        notes = self._look_after(message, results)
        outcome = None
        while outcome is None:
            if self._process is None:
                outcome = self._start(message, log, results, watch)
            if outcome is None:
                outcome = self._ask(message, log, watch)
        if message.state is not None and outcome.runtime_error is None:
            state, note = read_state(self._file(message, "state"), message.state)
            notes += [note] if note else []
            outcome = outcome._replace(state=state)
        return outcome._replace(notes=tuple(notes) + outcome.notes)

    def close(self) -> None:
        """End the process, and remove the worker's own directory."""
        self._drop()
        super().close()

    def _look_after(self, message: Message, results: Results) -> List[str]:
        """Look what the process did between two messages; return what is to be said of it."""
        if self._process is None:
            return []
        has_ended, stray_bytes, said = self._process.look_up()
        stray_results = self._process.inbox.hand_over(results)
        notes = []
        if stray_bytes or stray_results:
            notes.append(
                "Since the message before, %d bytes of output and %d results came that belong to "
                "none, and are dropped." % (stray_bytes, stray_results)
            )
        if said:
            notes.append(
                "The actor's process said %s when nothing was asked; it was ended, and a new one "
                "started." % dialogue.show(said)
            )
        if has_ended or said or self._has_state != (message.state is not None):
            self._drop()
        return notes

    def _start(
        self,
        message: Message,
        log: Capture,
        results: Results,
        watch: Callable[[], Optional[Ending]],
    ) -> Optional[Outcome]:
        """Start a process and wait until it is ready; return what became of it if it is not."""
        problem = None if self._array.command else "The image has no command."
        problem = problem or self._sif.find_problem() or find_missing(self._array.binds)
        if problem:
            return Outcome(RUNTIME_FAILED, problem)
        process = self._process = self._launch(message, results)
        self._has_served, self._has_state = False, message.state is not None
        self._memory = self._watch_memory(process.keeper)
        self._kills = self._oom_count.read()
        answer = process.ask(b"", log, self._memory, watch)
        form = dialogue.parse_ready(answer.line or b"")
        if form is not None and answer.ending is None and not process.is_over:
            self._form = form
            return None
        if answer.line is not None and answer.ending is None and form is None:
            return self._kill(answer.line, _EXPECTED_READY, log)
        return self._conclude(answer, log, is_ready=False)

    def _launch(self, message: Message, results: Results) -> Process:
        assert self._place is not None
        mounts = []
        files = [("data", container.BINARY_DATA, "ro"), ("script", dialogue.MESSAGE_FILE, "ro")]
        files += [("state", STATE_FILE, "rw")] if message.state is not None else []
        for name, target, mode in files:
            path = self._file(message, name)
            if os.path.lexists(path):  # of the process before, which may have spoiled it
                os.unlink(path)
            _write(path, b"")
            mounts.append((path, target, mode))
        if message.state is not None:
            write_state(self._file(message, "state"), message.state)
        self._has_data = False
        shared = Message("", dict(dialogue.ENVIRONMENT))
        inbox = ResultsSocket(self._place.path, results)
        mounts.append((inbox.path, RESULTS_SOCKET, "ro"))
        try:
            return Process(self._build_launch(shared, mounts), inbox, self._signals)
        except OSError:
            inbox.close()
            raise

    def _ask(
        self, message: Message, log: Capture, watch: Callable[[], Optional[Ending]]
    ) -> Optional[Outcome]:
        """Hand the message over; return None when the process had gone before it took any of it."""
        process = self._process
        assert process is not None
        env = {n: value for n, value in message.env.items() if n not in self._own_env}
        if "x-nonce" in env:
            env.setdefault("x_nonce", env["x-nonce"])  # as a shell can carry it as well
        try:
            self._write_contents(message, env)
        except OSError:
            self._drop()  # with the files that it has
            raise
        request = dialogue.build_request(self._form, message.id, env)
        answer = process.ask(request, log, self._memory, watch)
        if answer.line is None and answer.ending is None and self._has_served:
            outcome = self._conclude(answer, log)
            return None if process.took_nothing else outcome
        exit_code = None if answer.line is None else dialogue.parse_done(answer.line, message.id)
        if answer.line is not None and answer.ending is None and exit_code is None:
            return self._kill(answer.line, "'done %s' and an exit code" % message.id, log)
        if process.is_over:
            return self._conclude(answer, log, exit_code)
        assert exit_code is not None
        process.settle(log)
        self._has_served = True
        return self._count_kills(_outcome(exit_code, process.pid, process.read_usage()))

    def _write_contents(self, message: Message, env: Dict[str, str]) -> None:
        """Write what the process finds as files: into those it has, which are mounted."""
        if message.in_file or message.data or self._has_data:
            path = self._file(message, "data")
            if message.in_file:
                shutil.copyfile(self._spool.path("payload", message.id), path)
            else:
                _write(path, message.data or b"")
            self._has_data = message.in_file or bool(message.data)
        if message.state is not None:
            write_state(self._file(message, "state"), message.state)
        if self._form == dialogue.SHELL:
            _write(self._file(message, "script"), dialogue.build_script(env))

    def _kill(self, said: bytes, expected: str, log: Capture) -> Outcome:
        """Kill a process that does not keep to the protocol; return what became of it."""
        process = self._process
        assert process is not None
        if not process.is_over:
            process.end(0.0, log)
        outcome = self._conclude(Answer(None, None), log, KILLED)
        note = dialogue.explain(said, expected)
        return outcome._replace(notes=(note, *outcome.notes))

    def _conclude(
        self, answer: Answer, log: Capture, exit_code: Optional[int] = None, is_ready: bool = True
    ) -> Outcome:
        """Return what became of the message at which the process has ended.

        Args:
            answer: what came last.
            log: the message's.
            exit_code: of the message, where that is not how the process ended.
            is_ready: whether it was ready before.
        """
        process = self._process
        assert process is not None
        self._process = None
        marker, told = process.read_marker(), process.used
        report = process.close()
        total = Usage(report["cpu_ns"], report["max_rss_kib"], report["io_bytes"])
        ended_with = exit_code_of(int(report["status"]))
        pid = process.pid or report["pid"]
        outcome = _outcome(ended_with if exit_code is None else exit_code, pid, total.since(told))
        ending = answer.ending
        if ending is not None and ending.why == "memory":
            return outcome._replace(
                exit_code=KILLED, ended_by="memory", oom_killed=True, notes=(ending.note,)
            )
        if ending is not None:
            return outcome._replace(ended_by=ending.why)
        if marker != container.STARTED:
            text = explain(marker, self._array.command[0], ended_with, log)
            return outcome._replace(runtime_error=text)
        if exit_code is None:
            outcome = _tell_early_end(outcome, log, is_ready)
        return self._count_kills(outcome)

    def _count_kills(self, outcome: Outcome) -> Outcome:
        """Say so when the kernel has killed a process; one that ended well has not been."""
        if outcome.exit_code == 0:
            return outcome
        before, self._kills = self._kills, self._oom_count.read()
        if self._kills <= before or not self._may_be_killed(outcome):
            return outcome
        note = "The kernel killed a process: the memory of the job was used up."
        return outcome._replace(oom_killed=True, notes=(*outcome.notes, note))

    def _drop(self) -> None:
        """End the process, about which nobody waits."""
        process, self._process = self._process, None
        if process is not None:
            process.dismiss(END_GRACE_S)
            process.close()


def _outcome(exit_code: int, pid: int, usage: Usage) -> Outcome:
    return Outcome(
        exit_code=exit_code,
        pid=pid,
        cpu_ns=usage.cpu_ns,
        max_rss_kib=usage.max_rss_kib,
        io_bytes=usage.io_bytes,
    )


def _tell_early_end(outcome: Outcome, log: Capture, is_ready: bool) -> Outcome:
    """Say what went wrong with a process that has ended by itself, without an answer."""
    if is_ready:
        return outcome._replace(notes=("The actor's process ended without an answer.",))
    if outcome.exit_code != 0:
        return outcome._replace(notes=("The actor's process ended before it was ready.",))
    # It looks like success, and the message was never handed over.
    said = (log.text or "").strip()[-_SAID_CHARS:]
    text = (
        "The actor's process ended with 0 before it was ready to take a message (%s): by its label "
        "%s=process the image says that it can." % (_EXPECTED_READY, dialogue.LABEL)
    )
    return outcome._replace(runtime_error=text + (" Its last words: " + said if said else ""))


def _write(path: str, data: bytes) -> None:
    """Replace what a file holds, and leave the file: it is mounted."""
    with open(path, "wb") as file:
        file.write(data)
