"""Making recorded artifacts again in clean trees, and judging what came.

Records in, verdicts out: the ancestries of all targets are united and every entry in them is made
once, producers first, from what was made before it (`raw`), or only the targets from the recorded
bytes of their inputs (`parents`). The user's workspace and cache are only read.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from stages.core import adoption, holdings, machine, replica, snapshots, verdicts, workspace
from stages.core.divergence import Difference, parted
from stages.core.errors import USER_EXIT, ArtifactError, DevenoError
from stages.core.records import Record, Records, is_code
from stages.core.verdicts import (
    BLOCKED,
    DIFFERENT,
    FAILED,
    RESTORED,
    WITHIN,
    Made,
    Output,
    judged,
    key,
    owned,
    reads,
)

RAW, PARENTS = "raw", "parents"

Compare = Callable[[Path, Path], list[Difference]]
Tell = Callable[[str], None]


class Rebuild:
    """One call of `deveno rebuild`: its folder, its trees, what was made so far.

    `compare` tells where two files or folders part; `launch` is a command in front of every other,
    which ends it when we end; `tell` hears how far a running entry is.
    """

    def __init__(
        self,
        root: Path,
        records: Records,
        compare: Compare,
        *,
        launch: Sequence[str] = (),
        start: str = RAW,
        tell: Tell = lambda text: None,
    ) -> None:
        self.root, self.records, self.compare = root, records, compare
        self.launch, self.start, self.tell = launch, start, tell
        self.holdings = holdings.Holdings(root)
        self.folder = Path()
        self.replicas: dict[str, replica.Replica] = {}
        self.made: dict[str, Made] = {}
        self._ancestries: dict[str, list[Record]] = {}

    @contextlib.contextmanager
    def opened(self, keep: bool = False) -> Iterator[None]:
        """Hold a folder of our own below .deveno/rebuilds; whatever happens, it is removed."""
        above = workspace.state(self.root) / "rebuilds"
        above.mkdir(parents=True, exist_ok=True)
        sweep(above)
        self.folder = above / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}"
        self.folder.mkdir()
        with (self.folder / "lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            try:
                yield
            finally:
                if keep:
                    (self.folder / "kept").touch()
                else:
                    shutil.rmtree(self.folder, ignore_errors=True)
                    with contextlib.suppress(OSError):  # of another call beside us
                        above.rmdir()

    def order(self, targets: Sequence[Record]) -> list[Record]:
        """Return what is to be made, producers first; shared ancestors are there once."""
        found: dict[str, Record] = {}
        for target in targets:
            for record in self.ancestry(target) if self.start == RAW else [target]:
                found.setdefault(key(record), record)
        return list(found.values())

    def ancestry(self, record: Record) -> list[Record]:
        """Return a record and all it stands on, producers first."""
        if key(record) not in self._ancestries:
            self._ancestries[key(record)] = self.records.ancestry(record)
        return self._ancestries[key(record)]

    def make(self, record: Record) -> Made:
        """Make one entry again, its producers being made, and judge it."""
        above = self._above(record)
        broken = [one.record.entry for one in above if one.verdict in (FAILED, BLOCKED)]
        began = time.monotonic()
        if broken:
            made = Made(record, BLOCKED, reason=f"{', '.join(broken)} could not be made")
        else:
            try:
                made = self._made(record, above)
            except DevenoError as error:
                made = self._unmade(record, error.lines())
            if lacking := verdicts.without_device(record, self.records):
                made.notes = (lacking, *made.notes)
        made.seconds = time.monotonic() - began
        self.made[key(record)] = made
        return made

    def _above(self, record: Record) -> list[Made]:
        """Return what was made of a record's producers (none where parents are taken as held)."""
        rows = self.ancestry(record)[:-1] if self.start == RAW else []
        return [self.made[key(one)] for one in rows if reads(record, one)]

    def _made(self, record: Record, above: Sequence[Made]) -> Made:
        place = self._replica(record)
        before = self.ancestry(record)[:-1]
        touched = [path for one in [*before, record] for path in one.outs]
        inputs = [path for path in record.deps if not is_code(path)]
        notes: list[str] = []
        target = self.folder / "made" / key(record)
        place.clear(touched)
        try:
            near_last = sorted(before, key=lambda one: reads(record, one))
            place.prepare(record, near_last, whole=not any(map(self._orphaned, [*before, record])))
            for path in inputs:
                notes += self._place(place, record, path, above, touched)
            device = machine.showing(verdicts.device(record, self.records))
            ended = place.run(record, self.launch, self.tell, device or {})
            if ended.code:
                return self._unmade(record, ended.error, ended.code)
            place.take(list(record.outs), target)
        finally:
            place.clear(touched)
            place.bring_back(touched)
        after = tuple(one.record.entry for one in above if not one.sound)
        made = judged(record, self._outputs(record, target), after)
        made.folder, made.notes = target, tuple(notes)
        if made.verdict in (WITHIN, DIFFERENT):
            made.curves = tuple(self._parted(record, ended.curves))
        self._go_on(made)
        return made

    def _replica(self, record: Record) -> replica.Replica:
        """Return the tree of the commit, or snapshot, whose code made a record."""
        commit = snapshots.commit_of(self.root, record, self.records)
        if commit is None:
            raise ArtifactError(
                f"no commit and no snapshot has the code that made {record.entry} "
                f"({record.fingerprint})",
                "git log --all, refs/deveno/snapshots",
                "fetch the branch that had it; `deveno lineage` names its code files",
            )
        if commit not in self.replicas:
            folder = self.folder / commit
            self.replicas[commit] = replica.Replica(self.root, folder, commit)
        return self.replicas[commit]

    def _place(
        self,
        place: replica.Replica,
        record: Record,
        path: str,
        above: Sequence[Made],
        touched: list[str],
    ) -> list[str]:
        """Put one input where the record reads it: as it was made before, else as it is recorded.

        Returns what is to be said of it; raises where it cannot be had.
        """
        md5, found = record.deps[path], []
        for one in above:
            for out in one.record.outs:
                if (out == path or out.startswith(path + "/")) and one.folder is not None:
                    holdings.link(one.folder / out, place.root / out)
                    found.append(one)
        if (found and not all(one.sound for one in found)) or not md5:
            return []
        if holdings.actual(place.root / path) == md5:
            return []
        touched.append(path)
        source = self.holdings.copy(path, md5, place.root / path)
        if source and (found or self.start == PARENTS):
            return []
        if source and adoption.is_place(path):
            return [f"{path} was adopted, not made here; taken from the {source}"]
        if source:
            return [f"{path} is as recorded, from the {source}: nothing here tells how it was made"]
        if found:  # of a folder of many, somebody else's entries may have been in it
            return [f"{path} held more than its entries when {record.entry} was made"]
        raise ArtifactError(
            f"{path} is not here as {record.entry} read it (md5 {md5})",
            f"{record.entry}: the workspace and the cache",
            "put it back, or bring it with `dvc pull`",
        )

    def _unmade(self, record: Record, error: Sequence[str], code: int = USER_EXIT) -> Made:
        """Restore raw material whose source is gone; anything else has failed."""
        told = tuple(error) or (f"exit code {code}",)
        what = told[0].removeprefix("error: ")
        if code != USER_EXIT or not self._is_raw(record):
            return Made(record, FAILED, reason=what, error=told)
        folder = self._restored(record)
        if folder is None:
            gone = "its recorded bytes are neither in the workspace nor in the cache"
            return Made(record, FAILED, reason=f"{what}; and {gone}", error=told)
        outputs = [Output(path, md5, md5) for path, md5 in record.outs.items()]
        reason = f"its source is gone ({what}); its recorded bytes are whole"
        return Made(record, RESTORED, outputs, reason, folder=folder)

    def _is_raw(self, record: Record) -> bool:
        """Return whether an entry brings material in: it reads what no entry makes."""
        if any(map(adoption.is_place, record.inputs)):
            return False
        return not any(self.records.makers(record).values()) and not self._orphaned(record)

    def _orphaned(self, record: Record) -> bool:
        """Return whether an entry reads an artifact of which nothing tells how it was made."""
        return any(not up and owned(path) for path, up in self.records.makers(record).items())

    def _restored(self, record: Record) -> Path | None:
        """Return a folder with a record's outputs as they were recorded, or None."""
        folder = self.folder / "recorded" / key(record)
        for path, md5 in record.outs.items():
            if not self.holdings.copy(path, md5, folder / path):
                return None
        return folder

    def _outputs(self, record: Record, folder: Path) -> list[Output]:
        """Return what came of each output, compared with the recorded bytes where they are held."""
        outputs = []
        for path, md5 in record.outs.items():
            made = holdings.actual(folder / path)
            held = self.folder / "recorded" / key(record) / path
            if made == md5 or made is None:
                outputs.append(Output(path, md5, made))
            elif self.holdings.copy(path, md5, held):
                differences = tuple(self.compare(held, folder / path))
                outputs.append(Output(path, md5, made, differences))
            else:
                note = "its recorded bytes are gone, so only the md5 was compared"
                outputs.append(Output(path, md5, made, note=note))
        return outputs

    def _parted(self, record: Record, now: Mapping[str, Mapping[str, float]]) -> list[Difference]:
        """Return where the stepped metrics part from those of the recorded execution's journal."""
        execution = self.records.execution(record)
        then = replica.curves(execution) if execution else {}
        found = [
            row for name in then if name in now for row in parted("", name, then[name], now[name])
        ]
        return sorted(found, key=lambda row: int(row.where.rsplit(" ", 1)[-1]))

    def _go_on(self, made: Made) -> None:
        """Let what stands on raw material that is not what it was have its recorded bytes."""
        if made.verdict not in (WITHIN, DIFFERENT) or not self._is_raw(made.record):
            return
        folder = self._restored(made.record)
        if folder is not None:
            made.folder, made.replaced = folder, True
            made.reason = "what stands on it is made from its recorded bytes"


def sweep(above: Path) -> None:
    """Remove the folders of rebuilds that were killed; one that runs holds its lock."""
    for folder in above.iterdir():
        if not folder.is_dir() or (folder / "kept").exists():
            continue
        with contextlib.suppress(OSError), (folder / "lock").open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
