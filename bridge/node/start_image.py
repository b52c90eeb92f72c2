"""`reuse=image`: a container for each message, made by the worker after one that Apptainer made.

What a message finds is what `reuse=none` gives it: a fresh root, /tmp and /dev/shm, processes, IPC
and keyrings of its own, the image's environment, the owner's ids, the site's binds with their
modes. What is different: the image's own start scripts have run once for all messages of a worker,
so they do not see a message's variables; /etc/resolv.conf is as it was when the worker began; the
job's session keyring (AFS) is not handed on, since what one message leaves there the next would
find; a file of the image that messages open often has another time of change; a message's use of
the processor and of files is counted without Apptainer's, and without the image's file server. The
network is the host's both ways, abstract sockets too.

Where a node cannot do this (no user namespaces, no overlay in them, no FUSE, a system call that is
missing), or the runtime does something to its containers that cannot be done again, the worker says
so once and goes on as with `none`. One container is tried before the first message. A template that
dies is made anew once.

The workers of an array task with slots have one template in common, so that its image is mounted,
read and cached once. It is made before they are forked, and each has a folder of its own in it. One
that cannot use it any more makes its own.

The files that messages open are soon copied into the template's memory (bridge.node.hot). To unpack
the whole image there (unsquashfs) was tried: it gave half as much, for the classifier, and took
some hundred messages of each worker to earn it.
"""

import errno
import gc
import os
import sys
import time
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from bridge.node import container, inside, keeper, linux
from bridge.node.capture import Capture
from bridge.node.forge import Forge
from bridge.node.hot import BEGIN_AFTER_S, HotFiles
from bridge.node.memory import MemoryWatch
from bridge.node.messages import Message
from bridge.node.results import Results, ResultsSocket
from bridge.node.start_none import Kept, StartNone
from bridge.node.starter import Ending, Outcome
from bridge.node.template import Template, TemplateError, wait_for

_FOLDERS = ("", "/ro", "/payload", "/scratch")
_ONLY_THE_TEMPLATES = frozenset({inside.FILES, inside.FILES_READ_ONLY, inside.PAYLOADS})
_BINDS_SHOWN = (b"APPTAINER_BIND", b"SINGULARITY_BIND")
TRIAL_S = 30.0
# What may pass: older kernels free the namespaces of containers that have ended a few a second.
_PASSING = tuple("[Errno %d]" % number for number in (errno.EAGAIN, errno.ENOMEM, errno.ENOSPC))
_PAUSES_S = (0.1, 1.0, 5.0)
_TRIAL = Message("trial", {})
_TRIAL_COMMAND = ["/bin/sh", "-c", ":"]


class Loan(NamedTuple):
    """A template for those whom this process forks.

    Attributes:
        template: None where there is none.
        files: the folder that it shows to its messages.
        why: there is none.
    """

    template: Optional[Template]
    files: str
    why: str


class StartImage(StartNone):
    """Starts a container for each message after one template of the image."""

    _template: Optional[Template] = None
    _forge: Optional[Forge] = None
    _arguments: Dict[str, int]
    _hot_files: Optional[HotFiles] = None
    _warm_at: Optional[float] = None
    _remakes_left = 1
    _loan: Optional[Loan] = None
    _folder = ""  # of its own, in the files that a template shows

    def prepare(self) -> None:
        """Get ready as for `none`, then start a template and try a container."""
        super().prepare()
        if self._loan is None:
            self._make_template()
        elif self._loan.template is None:
            self.tell(self._loan.why)
        else:
            self._arguments = linux.find_arguments()
            self._template = self._loan.template
            os.mkdir(self._files(), 0o700)

    def lend(self) -> Loan:
        """Return the template, for others that are forked from here on; in place of `prepare`."""
        whys: List[str] = []
        self.tell = whys.append
        super().prepare()
        self._make_template()
        return Loan(self._template, self._files(), "".join(whys))

    def borrow(self, loan: Loan, name: str) -> None:
        """Use another's template, before `prepare`; `name` is this one's alone among its users."""
        self._loan = loan
        self._folder = "/" + name

    def run(
        self,
        message: Message,
        log: Capture,
        results: Results,
        watch: Callable[[], Optional[Ending]],
    ) -> Outcome:
        """Run one message in a container of its own.

        Where none could be made, nothing of the actor has run: another way is tried.
        """
        pauses_s = list(_PAUSES_S)
        while True:
            if self._template is not None and not self._template.is_alive():
                self._replace_template("the template has ended")
            outcome = super().run(message, log, results, watch)
            if self._forge is not None and outcome.pid == self._forge.pid:
                self._drop_forge()  # it was killed; what it is sent on its way out is lost
            if self._template is None or not self._said.startswith(container.UNMADE):
                self._warm()
                return outcome
            why = self._said[len(container.UNMADE) :].decode("utf-8", "replace")
            if why.startswith(_PASSING) and pauses_s and self._template.is_alive():
                self._signals.wait(pauses_s.pop(0))
            else:
                self._replace_template(why)

    def close(self) -> None:
        """End the template as well."""
        self._drop_template()
        super().close()

    def _make_template(self) -> None:
        """Have a template, or say why there is none."""
        try:
            self._arguments = linux.find_arguments()
            self._make_folders()
            self._template = self._start_template()
            self._try_container()
        except (TemplateError, OSError, AttributeError, ValueError) as error:
            # AttributeError: a C library without one of the calls.
            self._drop_template()
            self.tell(str(error))
        # What exists now is never freed, and looking through it would copy it in every fork.
        if hasattr(gc, "freeze"):
            gc.freeze()

    def _replace_template(self, why: str) -> None:
        self._drop_template()
        if self._remakes_left:
            self._remakes_left -= 1
            self._make_template()
        else:
            self.tell(why)

    def _warm(self) -> None:
        """Have the files copied that the next messages open; once, by one of a template's users."""
        if self._hot_files is not None and not self._hot_files.tell():
            self._drop_hot_files()
        now = time.monotonic()
        if self._warm_at is None:
            self._warm_at = now + BEGIN_AFTER_S
        if now < self._warm_at or self._template is None:
            return
        self._warm_at = float("inf")
        try:
            if self._loan is not None:
                os.mkdir(self._loan.files + "/hot", 0o700)
            self._hot_files = HotFiles(self._template.look)
        except OSError:  # another does it, or there are no processes: messages run all the same
            pass

    def _drop_hot_files(self) -> None:
        if self._hot_files is not None:
            self._hot_files.close()
            self._hot_files = None

    def _drop_forge(self) -> None:
        if self._forge is not None:
            self._forge.close()
            self._forge = None

    def _drop_template(self) -> None:
        self._drop_forge()
        self._drop_hot_files()
        if self._template is not None and self._loan is None:
            self._template.close()
        self._template = self._loan = None
        self._folder = ""

    def _make_folders(self) -> None:
        if os.path.isdir(self._files()):
            return
        for name in _FOLDERS:
            os.mkdir(self._files() + name, 0o700)
        os.mkfifo(self._files() + inside.PIPE[len(inside.FILES) :], 0o600)

    def _start_template(self) -> Template:
        if not hasattr(os, "posix_spawn"):
            raise TemplateError("it takes Python 3.8, this is %s" % sys.version.split()[0])
        problem = self._sif.find_problem()
        if problem is not None:  # no message will be run either
            raise TemplateError(problem)
        files = self._files()
        array = self._array._replace(
            command=Template.wait_command(inside.PIPE), environment={}, workdir=None
        )
        launch = container.build_launch(
            array,
            Message("template", {}),
            {},
            self._runtime_env,
            [
                (files, inside.FILES, "rw"),
                (files, inside.FILES_READ_ONLY, "ro"),
                (self._spool.path("payload"), inside.PAYLOADS, "ro"),
            ],
            ("--userns",),
        )
        return Template(launch, _ONLY_THE_TEMPLATES, self._signals.fileno())

    def _try_container(self) -> None:
        """See that a container can be made.

        Raises:
            TemplateError: it cannot; says why.
        """
        forge = self._start_forge()
        output, output_write = os.pipe()
        marker, marker_write = os.pipe()
        try:
            request = self._build_request(_TRIAL, [], _TRIAL_COMMAND)
            with forge.begin(request, [output_write, marker_write]) as control:
                handles = [control.fileno(), self._signals.fileno()]
                if control.fileno() not in wait_for(handles, time.monotonic() + TRIAL_S):
                    control.sendall(b"0")
                report = keeper.read_report(control, forge.pid)
        finally:
            os.close(output_write)
            os.close(marker_write)
            forge.close()
        said = os.read(marker, 4096)
        log = os.read(output, 4096)
        os.close(output)
        os.close(marker)
        if said != container.STARTED or report["status"] != 0:
            text = (said if said != container.STARTED else log).decode("utf-8", "replace")
            raise TemplateError(
                "a container cannot be made: " + (text or "status %d" % report["status"])
            )

    def _files(self) -> str:
        if self._loan is not None:
            return self._loan.files + self._folder
        assert self._place is not None
        return self._place.file("files")

    def _file(self, message: Message, name: str) -> str:
        return (
            super()._file(message, name) if self._template is None else self._files() + "/" + name
        )

    def _open_inbox(self, results: Results) -> Optional[ResultsSocket]:
        if self._template is None:
            return super()._open_inbox(results)
        return ResultsSocket(self._files(), results)

    def _watch_memory(self, keeper_pid: int) -> Optional[MemoryWatch]:
        if self._template is None:
            return super()._watch_memory(keeper_pid)
        limit_mib = self._array.memory_mib
        return MemoryWatch(limit_mib, keeper_pid, own_mib=0, skip=1) if limit_mib else None

    def _begin(
        self, message: Message, mounts: List[Tuple[str, str, str]], handles: List[int]
    ) -> Kept:
        if self._template is None:
            return super()._begin(message, mounts, handles)
        request = self._build_request(message, mounts, self._array.command)
        if self._forge is not None:
            try:
                return Kept(self._forge.pid, self._forge.begin(request, handles), stays=True)
            except (BrokenPipeError, ConnectionResetError):  # it was killed, or stuck
                self._drop_forge()
        self._forge = self._start_forge()
        return Kept(self._forge.pid, self._forge.begin(request, handles), stays=True)

    def _start_forge(self) -> Forge:
        assert self._template is not None
        return Forge(inside.Maker(self._template.look, self._arguments))

    def _build_request(
        self, message: Message, mounts: List[Tuple[str, str, str]], command: List[str]
    ) -> bytes:
        return inside.Fresh(
            mounts=[(self._seen_at(source, mode), target) for source, target, mode in mounts],
            environment=self._build_environment(message, mounts, command),
            argv=[container.encode(word) for word in command],
            workdir=container.encode(self._array.workdir or "/"),
        ).pack()

    def _seen_at(self, source: str, mode: str) -> str:
        """Return where the template has a file of this message's."""
        folder, name = os.path.split(source)
        if folder == self._spool.path("payload"):
            return inside.PAYLOADS + "/" + name
        place = inside.FILES if mode == "rw" else inside.FILES_READ_ONLY
        return place + self._folder + "/" + name

    def _build_environment(
        self, message: Message, mounts: List[Tuple[str, str, str]], command: List[str]
    ) -> Dict[bytes, bytes]:
        """Return the template's environment as it would be for this message."""
        assert self._template is not None
        found = dict(self._template.look.environment)
        targets = [target for _, target, _ in self._array.binds + mounts]
        for name in _BINDS_SHOWN:
            if name in found:
                found[name] = container.encode(",".join(targets))
        if b"PWD" in found:
            found[b"PWD"] = container.encode(self._array.workdir or "/")
        if b"_" in found:
            found[b"_"] = container.encode(command[0])
        given = container.merge_environment(self._array, message, self._own_env)
        # As a shell can carry it as well: which of the two an actor finds under `none` depends on
        # its image.
        if "x-nonce" in given:
            given.setdefault("x_nonce", given["x-nonce"])
        found.update((container.encode(n), container.encode(v)) for n, v in given.items())
        return found
