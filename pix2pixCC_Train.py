"""Train Pix2PixCC or Pix2PixHD on pairs of images.

    python pix2pixCC_Train.py --dataset_name demo --data_format_input fits --data_format_target fits \\
        --input_dir_train datasets/demo/Train/Input --target_dir_train datasets/demo/Train/Target
    python pix2pixCC_Train.py --dataset_name demo ... --resume              # go on where it stopped
    torchrun --nproc_per_node 4 pix2pixCC_Train.py ...                      # or --gpu_ids 0,1,2,3

Everything goes to ./checkpoints/<dataset_name>/. An iteration counts images, not steps.
"""
from options import parse, train_parser

if __name__ == "__main__":
    parse(train_parser())                    # --help and mistyped flags are answered before torch is loaded

import signal
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from checkpoints import RunFolder, load_weights
from devices import Ranks, half_precision, join_ranks, parameter_count, prefetched, relaunch_on, seed_everything
from networks import Discriminator, Generator, channel_repeats, initialise_weights
from pipeline import Augmentation, ImageStream, PairDataset, verify_dataset
from recorder import Recorder
from runs import TrainingData, changed_options, describe, find_training_data, options_record, scaling_flags
from training import TERMS, AdversarialTraining, learning_rate
from utils import UserError, run_command
from validation import SCORES, Sample, validate

TO_BE_CONTINUED = 75                         # exit status after SIGTERM: all is saved, start again with --resume


def main(argv: list[str] | None = None) -> int:
    opt = parse(train_parser(), argv)
    status = relaunch_on(opt.gpu_ids, [__file__, *(sys.argv[1:] if argv is None else argv)])
    if status is not None:
        return status
    folder = RunFolder(opt.dataset_name)
    with join_ranks(opt.gpu_ids) as ranks, ExitStack() as held:
        seed_everything(opt.seed, opt.deterministic)
        data = ranks.on_first(lambda: find_data(opt, folder))
        generator, discriminator, repeats = build_networks(opt, ranks.device)
        ranks.say(describe(opt, data, ranks.size, str(ranks.device), repeats,
                           (parameter_count(generator), parameter_count(discriminator))))
        if opt.dry_run:
            return 0
        ranks.on_first(lambda: held.enter_context(folder.locked()) and None)
        return train(opt, folder, ranks, data, generator, discriminator, repeats)


def find_data(opt, folder: RunFolder) -> TrainingData:
    """The run's pairs, every file of them read once."""
    if opt.val_during_train and not ((opt.input_dir_val and opt.target_dir_val) or opt.val_fraction):
        raise UserError("--val_during_train needs --input_dir_val and --target_dir_val, or --val_fraction")
    data = find_training_data(
        opt.input_dir_train, opt.target_dir_train, input_format=opt.data_format_input, target_format=opt.data_format_target,
        input_ch=opt.input_ch, target_ch=opt.target_ch, n_downsample=opt.n_downsample, n_D=opt.n_D, data_size=opt.data_size,
        flags=lambda side, described: scaling_flags(opt, side, described),
        validation_dirs=(opt.input_dir_val, opt.target_dir_val) if opt.input_dir_val and opt.target_dir_val else None,
        val_fraction=opt.val_fraction)
    verify_dataset([*data.pairs, *data.validation], input_ch=opt.input_ch, target_ch=opt.target_ch, data_size=data.size,
                   n_workers=opt.n_workers, remember=None if opt.dry_run else folder.path / "verified.json")
    return data


def build_networks(opt, device: torch.device) -> tuple[Generator, Discriminator, tuple[int, int]]:
    repeats = channel_repeats(opt.input_ch, opt.target_ch, opt.ch_balance)
    generator = Generator(opt.input_ch, opt.target_ch, model=opt.model, n_gf=opt.n_gf, n_downsample=opt.n_downsample,
                          n_residual=opt.n_residual, norm_type=opt.norm_type, padding_type=opt.padding_type, trans_conv=opt.trans_conv,
                          checkpoint_activations=opt.checkpoint_activations)
    discriminator = Discriminator(opt.input_ch * repeats[0] + opt.target_ch * repeats[1], n_df=opt.n_df, n_D=opt.n_D)
    for network in (generator, discriminator):
        initialise_weights(network)
    return generator.to(device), discriminator.to(device), repeats


def over_ranks(network: torch.nn.Module, ranks: Ranks) -> torch.nn.Module:
    """`network` as it trains: in DistributedDataParallel where several ranks do, batch norms over all of them."""
    if ranks.size == 1:
        return network
    if any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules()):
        if ranks.device.type != "cuda":
            raise UserError("--norm_type BatchNorm2d over several processes needs GPUs; use one process, or InstanceNorm2d")
        network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return DistributedDataParallel(network, device_ids=[ranks.device.index] if ranks.device.type == "cuda" else None)


def starting_point(opt, folder: RunFolder, record: dict) -> tuple[int, bool]:
    """The iteration to go on from, and whether there is a training state for it (else only weights, or nothing at 0)."""
    if opt.latest_iter and opt.resume:
        raise UserError("--resume takes the newest state, --latest_iter that of one iteration: give one of them")
    if opt.latest_iter:
        iteration, state = opt.latest_iter, None
        if iteration in folder.state_iterations():
            state = folder.read_state(iteration)
        else:
            folder.choose(str(iteration))
            print(f"starting from the weights of iteration {iteration}; there is no training state with them, so Adam starts afresh")
    elif opt.resume:
        iteration, state = folder.newest_good_state() or (0, None)
        print(f"resuming from iteration {iteration}" if state else "nothing to resume from yet: starting at 0")
    elif folder.iterations():
        raise UserError(f"{folder.path} already holds a run up to iteration {folder.iterations()[-1]}: go on with --resume, "
                        "or train under another --dataset_name")
    else:
        iteration, state = 0, None
    if state is not None and not opt.allow_changed_options:
        changes = changed_options(state["record"], record)
        if changes:
            raise UserError("this run was made with other options: " + "; ".join(changes)
                            + ". Go on with the old ones, or set --allow_changed_options")
    return iteration, state is not None


def load_bare_weights(folder: RunFolder, iteration: int, generator: Generator, discriminator: Discriminator) -> None:
    """Start from `<iteration>_G.pt` and, if it is there, `<iteration>_D.pt`."""
    load_weights(generator, folder.weights(iteration, "G"))
    if folder.weights(iteration, "D").is_file():
        load_weights(discriminator, folder.weights(iteration, "D"))


def start_recorder(opt, folder: RunFolder, ranks: Ranks, data: TrainingData, record: dict, start: int) -> Recorder | None:
    """The first rank's recorder; None on the others."""
    if not ranks.is_first:
        return None
    sample = Sample((data.validation or data.pairs)[0], input_scaling=data.input_scaling, target_scaling=data.target_scaling,
                    display_scale=opt.display_scale, display_range=opt.display_range, image_mode=opt.image_mode)
    prefixes = (["val"] + ["ema"] * (opt.ema is not None)) if opt.val_during_train else []
    columns = [*TERMS, *(f"{prefix}_{name}" for prefix in prefixes for name in SCORES)]
    return Recorder(folder, record, columns, sample, start=start, keep_last=opt.keep_last)


def validation_scores(training: AdversarialTraining, data: TrainingData, ranks: Ranks) -> dict[str, float]:
    """Scores of the generator and, with --ema, of its moving average."""
    scores: dict[str, float] = {}
    for prefix, averaged in (("val", False), ("ema", True)):
        if averaged and training.average is None:
            continue
        scores |= validate(partial(training.generate, averaged=averaged), data.validation, ranks=ranks,
                           input_scaling=data.input_scaling, target_scaling=data.target_scaling, prefix=prefix)
    return scores


class Diverged(Exception):
    """A loss is no number; the argument is the iteration where it began."""


def roll_back(opt, folder: RunFolder, training: AdversarialTraining, recorder: Recorder | None, files: str,
              diverged: Diverged, ranks: Ranks) -> tuple[int, float]:
    """Return to the last good state with half its learning rate: (iteration, factor of the learning rate)."""
    where = f"the loss is no number at iteration {diverged}; its images: {files}"
    if recorder:
        recorder.wait()
    found = ranks.on_first(lambda: (folder.newest_good_state() or (0,))[0])
    if opt.on_nan == "stop" or not found:
        raise UserError(f"{where}. Nothing of it was saved" + (f"; the last good state is iteration {found}: look at these images, then "
                        "--resume with a lower --lr and --allow_changed_options, or --on_nan rollback" if found else "; look at these "
                        "images, or start again with a lower --lr"))
    state = folder.read_state(found)
    factor = state["lr_factor"] / 2
    if factor < 1e-3:
        raise UserError(f"{where}, again and again from iteration {found} on, with ever lower learning rates. Look at these images")
    training.load_state_dict(state["training"])
    ranks.say(f"\n{where}. Back to iteration {found} with the learning rate times {factor:g}")
    if recorder:
        recorder.save_state(found, {"training": training.state_dict(), "lr_factor": factor})
        recorder.rewind(found)
    return found, factor


class StopSignals:
    """Ctrl-C and SIGTERM let the step in hand finish and the run be saved; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.received: int | None = None

    def __enter__(self) -> "StopSignals":
        self._before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _frame: object) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
        print("\nsaving; Ctrl-C again stops at once", file=sys.stderr, flush=True)


def passes(before: int, now: int, every: int) -> bool:
    """Whether the count of images passed a multiple of `every`."""
    return now // every > before // every


def train(opt, folder: RunFolder, ranks: Ranks, data: TrainingData, generator: Generator, discriminator: Discriminator,
          repeats: tuple[int, int]) -> int:
    """The training loop; returns the exit status."""
    record = options_record(opt, data, ranks.size, repeats)
    count, has_state = ranks.on_first(lambda: starting_point(opt, folder, record))
    if count and not has_state:
        load_bare_weights(folder, count, generator, discriminator)
    training = AdversarialTraining(
        over_ranks(generator, ranks), over_ranks(discriminator, ranks), repeats=repeats, lr=opt.lr, beta1=opt.beta1, beta2=opt.beta2,
        lambda_LSGAN=opt.lambda_LSGAN, lambda_FM=opt.lambda_FM, lambda_CC=opt.lambda_CC, gan_type=opt.GAN_type,
        fm_cumulative=opt.fm_cumulative, n_CC=opt.n_CC, ccc=opt.ccc, half=half_precision(ranks.device) if opt.data_type == 16 else None,
        ema=opt.ema)
    lr_factor = 1.0                           # halved by every rollback
    if has_state:
        state = folder.read_state(count)
        training.load_state_dict(state["training"])
        lr_factor = state["lr_factor"]
    if opt.compile:
        training.bare_generator.compile()
        training.bare_discriminator.compile()

    scalings = {"input_scaling": data.input_scaling, "target_scaling": data.target_scaling}
    dataset = PairDataset(data.pairs, input_ch=opt.input_ch, target_ch=opt.target_ch, data_size=data.size, seed=opt.seed,
                          augmentation=Augmentation(opt.padding_size, opt.max_rotation_angle), **scalings)
    number, batch = len(dataset), opt.batch_size * ranks.size
    end = min(opt.n_epochs * number, opt.n_iterations or opt.n_epochs * number)

    def batches(start: int) -> DataLoader:
        stream = ImageStream(number, opt.batch_size, seed=opt.seed, shuffle=not opt.no_shuffle, start=start, stop=end,
                             rank=ranks.rank, world_size=ranks.size)
        return DataLoader(dataset, batch_sampler=stream, num_workers=opt.n_workers, pin_memory=ranks.device.type == "cuda")

    def files_of(position: int) -> list[Path]:
        stream = ImageStream(number, batch, seed=opt.seed, shuffle=not opt.no_shuffle, start=position)
        return [data.pairs[index][0] for _, index in next(iter(stream))]

    def refuse_divergence() -> None:
        if since := ranks.most(training.steps_since_divergence()):
            raise Diverged(count - (since - 1) * batch)

    with ExitStack() as stack:
        signals = stack.enter_context(StopSignals())
        recorder = start_recorder(opt, folder, ranks, data, record, count)
        if recorder:
            stack.enter_context(recorder)
        bar = stack.enter_context(tqdm(total=end, initial=count, unit="img", disable=not ranks.is_first, dynamic_ncols=True,
                                       mininterval=0.5 if sys.stderr.isatty() else 20))
        stop = False
        while count < end and not stop:
            try:
                for images in prefetched(batches(count), ranks.device):
                    before, count = count, count + batch
                    lr = lr_factor * learning_rate(opt.lr, before // number, opt.n_epochs, opt.epoch_decay)
                    training.set_learning_rate(lr)
                    training.step(images["input"], images["target"])
                    bar.update(batch)
                    stop = bool(ranks.most(signals.received is not None))
                    if passes(before, count, opt.report_freq):
                        refuse_divergence()
                        losses = dict(zip(TERMS, ranks.mean(training.mean_losses()).tolist(), strict=True))
                        bar.set_postfix({name: f"{losses[name]:.3f}" for name in ("loss_G", "loss_D", "CC")}, refresh=False)
                        if recorder:
                            recorder.report(count, count / number, lr, losses)
                    if recorder and passes(before, count, opt.display_freq):
                        recorder.display(count, training.generate(recorder.sample.input.to(ranks.device)))
                    if passes(before, count, opt.save_freq) or count >= end or stop:
                        refuse_divergence()
                        scores = validation_scores(training, data, ranks) if opt.val_during_train else {}
                        if recorder:
                            recorder.save(count, count / number, lr, {"training": training.state_dict(), "lr_factor": lr_factor}, scores)
                    elif recorder and passes(before, count, number):
                        recorder.curves()
                    if stop:
                        break
            except Diverged as diverged:
                files = ", ".join(str(path) for path in files_of(diverged.args[0] - batch))
                count, lr_factor = roll_back(opt, folder, training, recorder, files, diverged, ranks)
                bar.n = count
    if signals.received is not None and count < end:
        ranks.say(f"stopped at iteration {count} of {end}, all saved; go on with the same command and --resume")
        return TO_BE_CONTINUED if signals.received == signal.SIGTERM else 128 + signals.received
    ranks.say(f"done: {folder.weights(count, 'G')}; see {folder.path / 'index.html'}")
    return 0


if __name__ == "__main__":
    run_command(main)
