"""Where a run goes on from: nothing, weights alone, or a training state; and the way back to the last good state."""
from __future__ import annotations

from torch import Tensor

from pix2pixcc.networks import Discriminator, Generator
from pix2pixcc.parallel.ranks import Ranks
from pix2pixcc.training.checkpoints import load_weights
from pix2pixcc.training.folder import RunFolder
from pix2pixcc.training.record import RunRecord
from pix2pixcc.training.step import AdversarialTraining
from pix2pixcc.utils import UserError


def starting_point(folder: RunFolder, record: RunRecord, ranks: Ranks, *, resume: bool, latest_iter: int,
                   allow_changed_options: bool) -> tuple[int, dict | None]:
    """Return the iteration to go on from, and its training state; None for weights alone, and for 0.

    Raises
    ------
    UserError
        There is nothing to go on from, a run is in the way, or an option that changes the mathematics has changed.
    """
    iteration, has_state = ranks.on_first(lambda: _choose(folder, resume=resume, latest_iter=latest_iter))
    if not has_state:
        return iteration, None
    state = folder.read_state(iteration)
    if not allow_changed_options:
        ranks.on_first(lambda: _refuse_changes(record.differences(RunRecord(state["record"]))))
    return iteration, state


def _choose(folder: RunFolder, *, resume: bool, latest_iter: int) -> tuple[int, bool]:
    """Choose the iteration to go on from, and say whether there is a training state of it."""
    if latest_iter and resume:
        raise UserError("--resume takes the newest state, --latest_iter that of one iteration: give one of them")
    if latest_iter:
        if latest_iter in folder.state_iterations():
            folder.read_state(latest_iter)                 # the first rank alone says if it is damaged
            return latest_iter, True
        folder.choose(str(latest_iter))
        print(f"starting from the weights of iteration {latest_iter}; there is no training state with them, "
              "so Adam starts afresh")
        return latest_iter, False
    if resume:
        found = folder.newest_good_state()
        print("nothing to resume from yet: starting at 0" if found is None else f"resuming from iteration {found}",
              flush=True)
        return found or 0, found is not None
    if there := folder.iterations() or folder.state_iterations():
        raise UserError(f"{folder.path} already holds a run up to iteration {there[-1]}: go on with --resume, "
                        "or train under another --dataset_name")
    return 0, False


def _refuse_changes(changes: list[str]) -> None:
    if changes:
        raise UserError("this run was made with other options: " + "; ".join(changes)
                        + ". Go on with the old ones, or set --allow_changed_options")


def load_bare_weights(folder: RunFolder, iteration: int, generator: Generator, discriminator: Discriminator) -> None:
    """Start from `<iteration>_G.pt` and, if it is there, `<iteration>_D.pt`."""
    load_weights(generator, folder.weights(iteration, "G"))
    if folder.weights(iteration, "D").is_file():
        load_weights(discriminator, folder.weights(iteration, "D"))


def state_of(training: AdversarialTraining, ranks: Ranks, lr_factor: float) -> dict:
    """Return the state to resume from; all ranks ask for it together, as each has its own sums of the losses."""
    state = training.state_dict()
    return {"training": state | {"sums": ranks.gathered(state["sums"])}, "lr_factor": lr_factor}


def load_state(training: AdversarialTraining, state: dict, ranks: Ranks) -> float:
    """Put `training` into a state, of as many ranks or of another number; return the factor of the learning rate."""
    sums = state["training"].get("sums")
    if not isinstance(sums, Tensor) or sums.shape[1:] != training.sums.shape:
        raise UserError("the training state has no sums of the losses: it is not of this program")
    mine = sums[ranks.rank] if len(sums) == ranks.size else sums.mean(0)
    training.load_state_dict(state["training"] | {"sums": mine})
    return state["lr_factor"]


def roll_back(folder: RunFolder, training: AdversarialTraining, ranks: Ranks, *, where: str, before: int,
              allowed: bool) -> tuple[int, float]:
    """Return to the last good state; give its iteration, and half its factor of the learning rate.

    `where` says what diverged, at which iteration and on which images. States later than `before`, the iteration that
    was reached, are of another branch of this run. `allowed` says whether the user asked for it.

    Raises
    ------
    UserError
        It is not allowed, there is no good state, or the rate has been halved ten times already.
    """
    found = ranks.on_first(lambda: folder.newest_good_state(before))
    if not found:
        raise UserError(f"{where}. Nothing of it was saved; look at these images, or start again with a lower --lr")
    if not allowed:
        raise UserError(f"{where}. Nothing of it was saved; the last good state is iteration {found}: look at these "
                        "images, then --resume with a lower --lr and --allow_changed_options, or --on_nan rollback")
    factor = load_state(training, folder.read_state(found), ranks) / 2
    if factor < 1e-3:
        raise UserError(f"{where}, again and again from iteration {found} on, with ever lower learning rates. "
                        "Look at these images")
    ranks.say(f"\n{where}. Back to iteration {found} with the learning rate times {factor:g}")
    return found, factor
