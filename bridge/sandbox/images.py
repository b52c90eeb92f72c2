"""Images of the sandbox, each tagged with the hash of what it is made from.

An unchanged image is never built again, a changed input always makes another tag. Images are
shared by all sandboxes of the machine.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from time import monotonic

from bridge.errors import SandboxError
from bridge.sandbox import archive
from bridge.sandbox.engine import Engine
from bridge.sandbox.plan import IMAGE_LABEL

ROOTFS = Path(__file__).parent / "rootfs"
PACKAGE = Path(__file__).parent.parent
CHECKOUT = PACKAGE.parent
PUBLIC_BASE = "debian:trixie-slim"
BUILD_TIMEOUT_S = 900
PULL_TIMEOUT_S = 60
# The release of Debian that has each version of Slurm.
SLURM_SUITES = {"24.11": "trixie", "26.05": "sid"}
SLURM = "24.11"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Images:
    """The tags of the images that a sandbox runs."""

    node: str
    login: str


@contextmanager
def timed(say: Say, what: str) -> Iterator[None]:
    """Say `what` and how long it took, once it is done."""
    begun = monotonic()
    yield
    say(f"  {what}  {monotonic() - begun:.1f} s")


def hash_inputs(parts: Iterable[str | Path]) -> str:
    """Return a short hash of texts, and of files and directories with their names and contents."""
    digest = hashlib.sha256()
    for part in parts:
        for name, content in read_part(part):
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()[:12]


def read_part(part: str | Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of a text (without name), a file, or each file of a directory."""
    if isinstance(part, str):
        yield "", part.encode()
    elif part.is_file():
        yield part.name, part.read_bytes()
    else:
        for path in sorted(part.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                yield str(path.relative_to(part)), path.read_bytes()


def tag_of(kind: str, digest: str) -> str:
    """Return the full name of an image of ours."""
    return f"localhost/abaco-bridge/{kind}:{digest}"


class ImageBuilder:
    """Builds what is missing of the sandbox's images with one engine.

    `slurm` is the version that the nodes get.

    Raises:
        SandboxError: no release of Debian has this version.
    """

    def __init__(self, engine: Engine, say: Say, slurm: str = SLURM) -> None:
        if slurm not in SLURM_SUITES:
            raise SandboxError(f"No Slurm {slurm!r}: there are {', '.join(SLURM_SUITES)}.")
        self._suite = SLURM_SUITES[slurm]
        self._engine = engine
        self._say = say
        self._archive = archive.read_archive()

    def base_tag(self) -> str:
        """Return the tag of the base image, built or not."""
        bootstrap = archive.build_bootstrap_argv(self._archive, None, Path("rootfs"))
        inputs = (ROOTFS / "Containerfile.base", " ".join(bootstrap))
        return tag_of("base", hash_inputs(inputs))

    def node_tag(self) -> str:
        """Return the tag of the nodes' image, built or not."""
        inputs = (self.base_tag(), self._suite, ROOTFS / "Containerfile.node", ROOTFS / "node")
        return tag_of("node", hash_inputs(inputs))

    def slim_tag(self) -> str:
        """Return the tag of the small base image of the samples, built or not."""
        return tag_of("slim", hash_inputs((self.base_tag(), ROOTFS / "Containerfile.slim")))

    def ensure_all(self) -> Images:
        """Build what is missing of the images a sandbox runs."""
        return Images(node=self.ensure_node(), login=self.ensure_login())

    def ensure_base(self) -> str:
        """Return the tag of the base image, built when it is missing."""
        tag = self.base_tag()
        if not self._engine.has_image(tag):
            rootfs = self._find_rootfs()
            args = {"ROOTFS": rootfs, "ARCHIVE": self._archive}
            self._build(tag, ROOTFS / "Containerfile.base", ROOTFS, args)
        return tag

    def ensure_slim(self) -> str:
        """Return the tag of the small base image of the samples, built when it is missing."""
        tag = self.slim_tag()
        if not self._engine.has_image(tag):
            args = {"BASE": self.ensure_base()}
            self._build(tag, ROOTFS / "Containerfile.slim", ROOTFS, args)
        return tag

    def ensure_node(self) -> str:
        """Return the tag of the nodes' image, built when it is missing."""
        tag = self.node_tag()
        if not self._engine.has_image(tag):
            args = {"BASE": self.ensure_base(), "ARCHIVE": self._archive, "SUITE": self._suite}
            self._build(tag, ROOTFS / "Containerfile.node", ROOTFS, args)
        return tag

    def ensure_login(self) -> str:
        """Return the tag of the login node's image, built when it is missing."""
        requirements = "".join(f"{line}\n" for line in read_requirements())
        constraints = PACKAGE / "constraints.txt"
        containerfile = ROOTFS / "Containerfile.login"
        inputs = (self.node_tag(), containerfile, requirements, constraints)
        tag = tag_of("login", hash_inputs(inputs))
        if not self._engine.has_image(tag):
            with tempfile.TemporaryDirectory(prefix="abaco-bridge-") as place:
                Path(place, "requirements.txt").write_text(requirements)
                shutil.copy(constraints, place)
                self._build(tag, containerfile, Path(place), {"NODE": self.ensure_node()})
        return tag

    def ensure_sample(self, name: str) -> str:
        """Return the tag of the sample image `name`, built when it is missing.

        Raises:
            SandboxError: there is no sample of that name.
        """
        context = find_sample(name)
        tag = tag_of(f"sample-{name}", hash_inputs([self.slim_tag(), context]))
        if not self._engine.has_image(tag):
            args = {"BASE": self.ensure_base(), "SLIM": self.ensure_slim()}
            with tempfile.TemporaryDirectory(prefix="abaco-bridge-") as place:
                # The engine follows no link out of its context.
                copy = shutil.copytree(context, Path(place, name))
                self._build(tag, copy / "Containerfile", copy, args)
        return tag

    def _build(self, tag: str, containerfile: Path, context: Path, args: dict[str, str]) -> None:
        with timed(self._say, f"image {tag.rpartition('/')[2]}"):
            argv = self._engine.build_argv(tag, containerfile, context, args)
            self._engine.call(argv, timeout_s=BUILD_TIMEOUT_S)

    def _find_rootfs(self) -> str:
        """Return an image of Debian trixie: one that is here, a pulled one, or one made here."""
        if self._engine.has_image(PUBLIC_BASE):
            return PUBLIC_BASE
        try:
            self._engine.command("pull", "--quiet", PUBLIC_BASE, timeout_s=PULL_TIMEOUT_S)
        except SandboxError:
            self._say(f"  {PUBLIC_BASE} cannot be pulled here: making it of Debian's packages")
            return self._bootstrap()
        return PUBLIC_BASE

    def _bootstrap(self) -> str:
        """Make a minimal Debian from its archive and import it as an image."""
        keyring = archive.find_keyring()
        lacking = [] if shutil.which("mmdebstrap") else ["mmdebstrap"]
        lacking += [] if keyring else ["debian-archive-keyring"]
        if lacking:
            raise SandboxError(
                f"No base image: {PUBLIC_BASE} is not on this machine and cannot be pulled, and it"
                f" cannot be made without {' and '.join(lacking)}:"
                f" apt-get install {' '.join(lacking)}."
            )
        tag = tag_of("rootfs", archive.SUITE)
        with timed(self._say, "Debian"), tempfile.TemporaryDirectory() as place:
            target = Path(place, "rootfs.tar")
            argv = archive.build_bootstrap_argv(self._archive, keyring, target)
            self._engine.call(argv, timeout_s=BUILD_TIMEOUT_S)
            self._engine.command("import", str(target), tag, timeout_s=BUILD_TIMEOUT_S)
        return tag


def read_requirements() -> list[str]:
    """Return what the bridge needs at run time, extras left out, as pip's requirement lines."""
    pyproject = CHECKOUT / "pyproject.toml"
    if pyproject.is_file():  # of a checkout the file counts, not what was installed some time ago
        found = tomllib.loads(pyproject.read_text())["project"]["dependencies"]
    else:
        found = metadata.requires("abaco-bridge") or []
    return sorted(line for line in found if "extra ==" not in line)


def find_sample(name: str) -> Path:
    """Return the directory of the sample image `name`, in the package or the checkout.

    Raises:
        SandboxError: there is no sample of that name; the message lists those there are.
    """
    places = [Path(__file__).parent / "_images", CHECKOUT / "tests" / "images"]
    samples = {path.parent.name: path.parent for p in places for path in p.glob("*/Containerfile")}
    if name not in samples:
        raise SandboxError(f"No sample image {name!r}: there are {', '.join(sorted(samples))}.")
    return samples[name]


def remove_images(engine: Engine) -> int:
    """Remove the images of all sandboxes that no container runs; return how many went.

    The stages of a build go as well: they carry the label but no name.
    """
    shown = ("--format={{.Repository}}:{{.Tag}} {{.ID}}", f"--filter=label={IMAGE_LABEL}")
    listed = [line.split() for line in engine.command("images", *shown).splitlines()]
    names = [image_id if "<none>" in tag else tag for tag, image_id in listed]
    names.append(tag_of("rootfs", archive.SUITE))
    return sum(engine.call(engine.argv("rmi", name), check=False).returncode == 0 for name in names)
