"""Checkpoints: numbered folders, written in the background, whole or absent.

The only importer of Orbax. A step gets its number by a rename once all of it is on the
disk, so a killed run leaves finished steps and rubbish that is known as such.
"""

import contextlib
import logging
import shutil
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
from jaxtyping import PyTree

from jaxdistill.errors import Damaged, InputError
from jaxdistill.run import snapshots
from jaxdistill.run.kept import note, set_aside
from jaxdistill.run.seals import ARRAYS, SHA256, of_arrays, sealed
from jaxdistill.run.troubles import explain_os_errors


class Checkpoints:
    """The snapshots of one run; `keep=None` keeps them all. Close it, or use `with`.

    Saving goes on in the background: what goes wrong there is raised, as `InputError`
    where the user can mend it, by the next `save` or by `close`.
    """

    def __init__(self, folder: Path, keep: int | None = None) -> None:
        self.folder = Path(folder).absolute()
        for logger in ("absl", "asyncio"):
            logging.getLogger(logger).addFilter(_not_orbax)
        clean = {"max_to_keep": keep, "cleanup_tmp_directories": True}
        options = ocp.CheckpointManagerOptions(**clean)
        handlers = {
            "state": ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_zarr3=False),
            "extra": ocp.JsonCheckpointHandler(),
        }
        with explain_os_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(
                self.folder, options=options, item_handlers=handlers
            )

    def steps(self) -> list[int]:
        """The finished steps, in order."""
        return snapshots.saved_steps(self.folder)

    def latest(self) -> int | None:
        """The last finished step, or None."""
        return max(self.steps(), default=None)

    def save(self, step: int, state: PyTree, extra: dict[str, Any]) -> None:
        """Begin to save, unless `step` is saved; `state` may be donated at once."""
        with self._saving():
            self._manager.wait_until_finished()
            if step in snapshots.saved_steps(self.folder):
                return
            told = sealed({**extra, ARRAYS: of_arrays(state)})
            args = ocp.args.Composite(
                state=ocp.args.PyTreeSave(state), extra=ocp.args.JsonSave(told)
            )
            self._manager.save(step, args=args, force=True)

    def wait(self) -> None:
        """Return when all is on the disk; raises what went wrong meanwhile."""
        with self._saving():
            self._manager.wait_until_finished()

    def newest(self, like: PyTree) -> tuple[int, PyTree] | None:
        """The last step that is whole, and its state; None where there is none.

        What is damaged is set aside, and that is told. Raises `InputError` for a step
        of another shape, and where the disk does not give it.
        """
        for step in reversed(snapshots.saved_steps(self.folder)):
            try:
                return step, self.restore(step, like)[0]
            except Damaged as error:
                kept = set_aside(self.folder / str(step)).name
                before = self.latest()
                start = "the beginning" if before is None else f"step {before}"
                note(
                    f"{error.what}: it is kept as {kept}, the run goes on from {start}"
                )
                self._manager.reload()
        return None

    def restore(self, step: int | None, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
        """State and extra of a step (None: the last), sharded as `like` is.

        Raises `InputError` if it is missing or of another shape, `Damaged` if it is not
        what was saved.
        """
        step = self.latest() if step is None else step
        if step not in snapshots.saved_steps(self.folder):
            raise InputError(f"{self.folder} holds no checkpoint {step}: train first")
        where = self.folder / str(step)
        if not snapshots.check_whole(where):
            note(f"checkpoint {where} has no checksums: it is taken as it is")
        with self._reading(step):
            saved = snapshots.named_leaves(
                self._manager.item_metadata(step)["state"].tree
            )
        if not set(snapshots.seals_of(where)) <= set(saved):
            raise snapshots.damaged(where)
        snapshots.same_shapes(where, saved, snapshots.named_leaves(like))
        placed = ocp.checkpoint_utils.construct_restore_args(like)
        args = ocp.args.Composite(
            state=ocp.args.PyTreeRestore(item=like, restore_args=placed),
            extra=ocp.args.JsonRestore(),
        )
        with self._reading(step):
            restored = self._manager.restore(step, args=args)
        extra = {
            k: v for k, v in restored["extra"].items() if k not in (ARRAYS, SHA256)
        }
        return restored["state"], extra

    def close(self) -> None:
        """Wait for what is being saved, then let go of the folder."""
        try:
            self.wait()
        finally:
            self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        try:
            with explain_os_errors(self.folder):
                yield
        except Exception:
            for rubbish in self.folder.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(rubbish, ignore_errors=True)
            raise

    @contextlib.contextmanager
    def _reading(self, step: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax raises what comes first
            raise snapshots.unreadable(self.folder / str(step), error) from error


def _not_orbax(record: logging.LogRecord) -> bool:
    """Whether a log record is anyone's but Orbax's, whose errors are raised anyway.

    One failed write leaves others behind; asyncio logs theirs whenever the garbage
    collector finds them, after `close` too, so the filter stays.
    """
    _, _, trace = record.exc_info or (None, None, None)
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(trace)]
    return not any("orbax" in file for file in [record.pathname, *files])
