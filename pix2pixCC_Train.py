"""Train Pix2PixCC or Pix2PixHD on pairs of images.

    python pix2pixCC_Train.py --dataset_name demo --data_format_input fits --data_format_target fits \\
        --input_dir_train datasets/demo/Train/Input --target_dir_train datasets/demo/Train/Target
    python pix2pixCC_Train.py --dataset_name demo ... --resume              # go on where it stopped
    torchrun --nproc_per_node 4 pix2pixCC_Train.py ...                      # or --gpu_ids 0,1,2,3

Everything goes to ./checkpoints/<dataset_name>/. An iteration counts images, not steps.
"""
from pix2pixcc.options import parse, scaling_flags, train_parser
from pix2pixcc.utils import UserError, leave_when_asked, limit_spinning, run_command

if __name__ == "__main__":
    leave_when_asked()
    parse(train_parser())                    # --help and mistyped flags are answered before torch is loaded
limit_spinning()

import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch
from tqdm import tqdm

from pix2pixcc.images.verification import verify_dataset
from pix2pixcc.networks import Discriminator, Generator, channel_repeats, initialise_weights
from pix2pixcc.parallel.loading import batches_on
from pix2pixcc.parallel.ranks import Ranks, half_precision, join_ranks, over_ranks, relaunch_on, seed_everything
from pix2pixcc.parallel.signals import StopSignals, exit_status
from pix2pixcc.pipeline import Augmentation, ImageStream, PairDataset
from pix2pixcc.training.data import ScalingFlags, TrainingData, find_training_data
from pix2pixcc.training.folder import RunFolder
from pix2pixcc.training.record import RunRecord
from pix2pixcc.training.recorder import FolderRecorder, Recorder
from pix2pixcc.training.resuming import load_bare_weights, load_state, roll_back, starting_point, state_of
from pix2pixcc.training.schedule import Schedule, learning_rate
from pix2pixcc.training.step import TERMS, AdversarialTraining
from pix2pixcc.training.validation import SCORES, Sample, validate

UNREADABLE = 1000      # as a reason to stop, beside the numbers of signals


@dataclass
class Run:
    """What the loop works with, from iteration `count` on; `lr_factor` is halved by every rollback."""

    opt: Namespace
    ranks: Ranks
    folder: RunFolder
    data: TrainingData
    training: AdversarialTraining
    schedule: Schedule
    recorder: Recorder
    signals: StopSignals
    bar: tqdm
    count: int
    lr_factor: float
    unreadable: str = "an image of another process cannot be read"      # the message of what stopped the run

    @property
    def batch(self) -> int:
        """Images per step, over all ranks."""
        return self.opt.batch_size * self.ranks.size

    def learning_rate(self, count: int) -> float:
        """Return the rate of the step that begins after `count` images."""
        opt = self.opt
        return self.lr_factor * learning_rate(opt.lr, count // len(self.data.pairs), opt.n_epochs, opt.epoch_decay)

    def stream(self, batch_size: int, start: int, **part: int) -> ImageStream:
        """Return the order of the images from `start` on."""
        return ImageStream(len(self.data.pairs), batch_size, seed=self.opt.seed, shuffle=not self.opt.no_shuffle,
                           start=start, **part)

    def batches(self, start: int) -> Iterator[dict]:
        """Load this rank's batches from `start` to the end."""
        opt, data, ranks = self.opt, self.data, self.ranks
        dataset = PairDataset(data.pairs, input_ch=opt.input_ch, target_ch=opt.target_ch, data_size=data.size,
                              seed=opt.seed, augmentation=Augmentation(opt.padding_size, opt.max_rotation_angle),
                              input_scaling=data.input_scaling, target_scaling=data.target_scaling)
        mine = self.stream(opt.batch_size, start, stop=self.schedule.end, rank=ranks.rank, world_size=ranks.size)
        return batches_on(ranks.device, dataset, mine, opt.n_workers)

    def next_batch(self, batches: Iterator[dict], count: int) -> tuple[dict, int]:
        """Return the batch of the step that begins after `count` images, and why there is none: 0 or `UNREADABLE`."""
        try:
            return (next(batches) if count < self.schedule.end else {}), 0
        except UserError as error:
            self.unreadable = str(error)
            return {}, UNREADABLE


def main(argv: list[str] | None = None) -> int:
    """Train, or go on; return the exit status."""
    opt = parse(train_parser(), argv)
    status = relaunch_on(opt.gpu_ids, [__file__, *(sys.argv[1:] if argv is None else argv)])
    if status is not None:
        return status
    folder = RunFolder(opt.dataset_name)
    if (opt.resume or opt.latest_iter) and "val_gap" not in opt.given:
        opt.val_gap = folder.recorded_val_gap(opt.val_gap)
    with join_ranks(opt.gpu_ids) as ranks, ExitStack() as stack:
        seed_everything(opt.seed, opt.deterministic)
        data = ranks.on_first(lambda: find_data(opt, folder))
        generator, discriminator, repeats = build_networks(opt, ranks.device)
        record = RunRecord.from_run({name: value for name, value in vars(opt).items() if name != "given"}, data,
                                    ranks=ranks.size, repeats=repeats)
        ranks.say(record.describe(data, (generator, discriminator), ranks.device))
        if opt.dry_run:
            return 0
        signals = stack.enter_context(StopSignals(speaks=ranks.is_first))
        ranks.on_first(lambda: stack.enter_context(folder.locked()))
        count, state = starting_point(folder, record, ranks, resume=opt.resume, latest_iter=opt.latest_iter,
                                      allow_changed_options=opt.allow_changed_options)
        if count and state is None:
            load_bare_weights(folder, count, generator, discriminator)
        training = start_training(opt, ranks, generator, discriminator, repeats)
        lr_factor, resumed = (1.0, False) if state is None else (load_state(training, state, ranks), True)
        del state                            # as large as all weights and both moments of each
        schedule = Schedule(opt.report_freq, opt.display_freq, opt.save_freq, len(data.pairs),
                            data.last_iteration(opt.n_epochs, opt.n_iterations))
        if opt.latest_iter and count < schedule.end:
            ranks.on_first(lambda: folder.leave_branch(count))
        with (start_recorder(opt, folder, ranks, data, record, count) as recorder,
              tqdm(total=schedule.end, initial=count, unit="img", disable=not ranks.is_first, dynamic_ncols=True,
                   mininterval=0.5 if sys.stderr.isatty() else 20) as bar):
            if resumed:
                recorder.complete(count, training.state_dict())
            run = Run(opt, ranks, folder, data, training, schedule, recorder, signals, bar, count, lr_factor)
            if opt.latest_iter and not resumed:
                recorder.rewind(count, state_of(training, ranks, lr_factor))      # what --resume goes on from
            count, stop = train(run)
        if stop == UNREADABLE:
            raise UserError(f"{run.unreadable}. Everything until iteration {count} is saved: mend that, and go on with "
                            "the same command and --resume")
        if stop and count < schedule.end:
            ranks.say(f"stopped at iteration {count} of {schedule.end}, all saved; "
                      "go on with the same command and --resume")
            return exit_status(stop)
        ranks.say(f"done: {folder.weights(count, 'G')}; see {folder.path / 'index.html'}")
        return 0


def train(run: Run) -> tuple[int, int]:
    """Train to the end, or until a signal or a file that cannot be read asks to stop.

    Return the last iteration, and the signal's number, `UNREADABLE` or 0. The next batch is fetched before all ranks
    agree whether to stop, so that none waits in a step for one that has no images.
    """
    training, schedule, recorder, ranks = run.training, run.schedule, run.recorder, run.ranks
    count, batches = run.count, run.batches(run.count)
    images, reason = run.next_batch(batches, count)
    stop = ranks.most(reason)
    while count < schedule.end and not stop:
        before, count, lr = count, count + run.batch, run.learning_rate(count)
        training.set_learning_rate(lr)
        training.step(images["input"], images["target"])
        run.bar.update(run.batch)

        # See what is due. Nothing is reported or saved of networks that have diverged.
        images, reason = run.next_batch(batches, count)
        stop = ranks.most(max(run.signals.received, reason))
        due = schedule.passed(before, count, stopping=stop > 0)
        if due.asks_for_networks and (steps := ranks.most(training.steps_since_divergence())):
            count = go_back(run, count, steps)
            batches = run.batches(count)
            images, reason = run.next_batch(batches, count)
            stop = ranks.most(max(run.signals.received, reason))
            continue

        if due.report:
            losses = dict(zip(TERMS, ranks.mean(training.mean_losses()).tolist(), strict=True))
            run.bar.set_postfix({name: f"{losses[name]:.3f}" for name in ("loss_G", "loss_D", "CC")}, refresh=False)
            recorder.report(count, lr, losses)
        if due.display:
            recorder.display(count, training.generate)
        if due.save:
            scores = validation_scores(run) if run.opt.val_during_train else {}
            recorder.save(count, lr, state_of(training, ranks, run.lr_factor), scores)
        elif due.epoch:
            recorder.draw()
    return count, stop


def go_back(run: Run, count: int, steps: int) -> int:
    """Go back to the last good state, from networks that diverged `steps` steps ago; return its iteration."""
    run.recorder.wait()
    iteration = count - (steps - 1) * run.batch
    keys = next(iter(run.stream(run.batch, iteration - run.batch)))
    files = ", ".join(str(run.data.pairs[index][0]) for _, index in keys)
    where = f"the loss is no number at iteration {iteration}; its images: {files}"
    count, run.lr_factor = roll_back(run.folder, run.training, run.ranks, where=where, before=count,
                                     allowed=run.opt.on_nan == "rollback")
    run.recorder.rewind(count, state_of(run.training, run.ranks, run.lr_factor))
    run.bar.n = count
    return count


def validation_scores(run: Run) -> dict[str, float]:
    """Score the generator and, with --ema, its moving average on the validation pairs."""
    training, data = run.training, run.data
    networks: dict[str, Callable] = {"val": training.generate}
    if training.average is not None:
        networks["ema"] = partial(training.generate, averaged=True)
    return validate(networks, data.validation, input_scaling=data.input_scaling, target_scaling=data.target_scaling,
                    ranks=run.ranks, n_threads=run.opt.n_workers)


def find_data(opt: Namespace, folder: RunFolder) -> TrainingData:
    """Find the run's pairs, and read every file of them once."""
    if opt.val_during_train and not ((opt.input_dir_val and opt.target_dir_val) or opt.val_fraction):
        raise UserError("--val_during_train needs --input_dir_val and --target_dir_val, or --val_fraction")
    input_flags, target_flags = (ScalingFlags(**scaling_flags(opt, side)) for side in ("input", "target"))
    validation_dirs = (opt.input_dir_val, opt.target_dir_val) if opt.input_dir_val and opt.target_dir_val else None
    data = find_training_data(
        opt.input_dir_train, opt.target_dir_train, input_format=opt.data_format_input,
        target_format=opt.data_format_target, input_ch=opt.input_ch, target_ch=opt.target_ch, data_size=opt.data_size,
        n_downsample=opt.n_downsample, n_D=opt.n_D, input_flags=input_flags, target_flags=target_flags,
        validation_dirs=validation_dirs, val_fraction=opt.val_fraction, val_gap=opt.val_gap)
    verify_dataset([*data.pairs, *data.validation], input_ch=opt.input_ch, target_ch=opt.target_ch, data_size=data.size,
                   far_outside=data.far_outside, n_workers=opt.n_workers,
                   remember=None if opt.dry_run else folder.path / "verified.json")
    return data


def build_networks(opt: Namespace, device: torch.device) -> tuple[Generator, Discriminator, tuple[int, int]]:
    """Build both networks with their initial weights on `device`, and balance the channels of the pair."""
    repeats = channel_repeats(opt.input_ch, opt.target_ch, opt.ch_balance)
    generator = Generator(opt.input_ch, opt.target_ch, model=opt.model, n_gf=opt.n_gf, n_downsample=opt.n_downsample,
                          n_residual=opt.n_residual, norm_type=opt.norm_type, padding_type=opt.padding_type,
                          trans_conv=opt.trans_conv, checkpoint_activations=opt.checkpoint_activations)
    discriminator = Discriminator(opt.input_ch * repeats[0] + opt.target_ch * repeats[1], n_df=opt.n_df, n_D=opt.n_D)
    for network in (generator, discriminator):
        initialise_weights(network)
    return generator.to(device), discriminator.to(device), repeats


def start_training(opt: Namespace, ranks: Ranks, generator: Generator, discriminator: Discriminator,
                   repeats: tuple[int, int]) -> AdversarialTraining:
    """Put both networks into training, over all ranks."""
    training = AdversarialTraining(
        over_ranks(generator, ranks), over_ranks(discriminator, ranks), repeats=repeats, lr=opt.lr, beta1=opt.beta1,
        beta2=opt.beta2, lambda_LSGAN=opt.lambda_LSGAN, lambda_FM=opt.lambda_FM, lambda_CC=opt.lambda_CC,
        gan_type=opt.GAN_type, fm_cumulative=opt.fm_cumulative, n_CC=opt.n_CC, ccc=opt.ccc,
        half=half_precision(ranks) if opt.data_type == 16 else None, ema=opt.ema)
    if opt.compile:
        training.bare_generator.compile()
        training.bare_discriminator.compile()
    return training


def start_recorder(opt: Namespace, folder: RunFolder, ranks: Ranks, data: TrainingData, record: RunRecord,
                   start: int) -> Recorder:
    """Make the first rank's recorder, which writes, or the others', which does not."""
    if not ranks.is_first:
        return Recorder()
    sample = Sample((data.validation or data.pairs)[0], input_scaling=data.input_scaling,
                    target_scaling=data.target_scaling, display_scale=opt.display_scale,
                    display_range=opt.display_range, image_mode=opt.image_mode)
    prefixes = (["val"] if opt.ema is None else ["val", "ema"]) if opt.val_during_train else []
    columns = [*TERMS, *(f"{prefix}_{name}" for prefix in prefixes for name in SCORES)]
    return FolderRecorder(folder, record, columns, sample, start=start, epoch=len(data.pairs), keep_last=opt.keep_last)


if __name__ == "__main__":
    run_command(main)
