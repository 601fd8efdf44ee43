"""Train Pix2PixCC or Pix2PixHD on pairs of images.

    python pix2pixCC_Train.py --dataset_name demo --data_format_input fits --data_format_target fits \\
        --input_dir_train datasets/demo/Train/Input --target_dir_train datasets/demo/Train/Target
    python pix2pixCC_Train.py --dataset_name demo ... --resume              # go on where it stopped
    torchrun --nproc_per_node 4 pix2pixCC_Train.py ...                      # or --gpu_ids 0,1,2,3

Everything goes to ./checkpoints/<dataset_name>/. An iteration counts images, not steps.
"""
from pix2pixcc.options import parse, scaling_flags, train_parser

if __name__ == "__main__":
    parse(train_parser())                    # --help and mistyped flags are answered before torch is loaded

import sys
from contextlib import ExitStack
from functools import partial

import torch
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from pix2pixcc.images.verification import verify_dataset
from pix2pixcc.networks import Discriminator, Generator, channel_repeats, initialise_weights
from pix2pixcc.parallel.loading import batches_on
from pix2pixcc.parallel.ranks import Ranks, half_precision, join_ranks, parameter_count, relaunch_on, seed_everything
from pix2pixcc.parallel.signals import StopSignals, exit_status
from pix2pixcc.pipeline import Augmentation, ImageStream, PairDataset
from pix2pixcc.training.data import ScalingFlags, TrainingData, find_training_data
from pix2pixcc.training.folder import RunFolder
from pix2pixcc.training.record import RunRecord
from pix2pixcc.training.recorder import Recorder
from pix2pixcc.training.resuming import Diverged, load_bare_weights, load_state, roll_back, starting_point, state_of
from pix2pixcc.training.step import TERMS, AdversarialTraining, learning_rate
from pix2pixcc.training.validation import SCORES, Sample, validate
from pix2pixcc.utils import UserError, run_command


def main(argv: list[str] | None = None) -> int:
    opt = parse(train_parser(), argv)
    status = relaunch_on(opt.gpu_ids, [__file__, *(sys.argv[1:] if argv is None else argv)])
    if status is not None:
        return status
    folder = RunFolder(opt.dataset_name)
    with join_ranks(opt.gpu_ids) as ranks, ExitStack() as stack:
        seed_everything(opt.seed, opt.deterministic)
        data = ranks.on_first(lambda: find_data(opt, folder))
        generator, discriminator, repeats = build_networks(opt, ranks.device)
        options = {name: value for name, value in vars(opt).items() if name != "given"}
        record = RunRecord.from_run(options, data, ranks=ranks.size, repeats=repeats)
        ranks.say(record.describe(data, device=str(ranks.device), parameters=(parameter_count(generator), parameter_count(discriminator))))
        if opt.dry_run:
            return 0
        signals = stack.enter_context(StopSignals(speaks=ranks.is_first))
        ranks.on_first(lambda: stack.enter_context(folder.locked()))
        return train(opt, folder, ranks, signals, data, generator, discriminator, repeats, record)


def find_data(opt, folder: RunFolder) -> TrainingData:
    """The run's pairs, every file of them read once."""
    if opt.val_during_train and not ((opt.input_dir_val and opt.target_dir_val) or opt.val_fraction):
        raise UserError("--val_during_train needs --input_dir_val and --target_dir_val, or --val_fraction")
    data = find_training_data(
        opt.input_dir_train, opt.target_dir_train, input_format=opt.data_format_input, target_format=opt.data_format_target,
        input_ch=opt.input_ch, target_ch=opt.target_ch, n_downsample=opt.n_downsample, n_D=opt.n_D, data_size=opt.data_size,
        input_flags=ScalingFlags(**scaling_flags(opt, "input")), target_flags=ScalingFlags(**scaling_flags(opt, "target")),
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


def start_recorder(opt, folder: RunFolder, ranks: Ranks, data: TrainingData, record: RunRecord, start: int) -> Recorder | None:
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


def passes(before: int, now: int, every: int) -> bool:
    """Whether the count of images passed a multiple of `every`."""
    return now // every > before // every


def train(opt, folder: RunFolder, ranks: Ranks, signals: StopSignals, data: TrainingData, generator: Generator,
          discriminator: Discriminator, repeats: tuple[int, int], record: RunRecord) -> int:
    """The training loop; returns the exit status."""
    count, state = starting_point(folder, record, ranks, resume=opt.resume, latest_iter=opt.latest_iter,
                                  allow_changed_options=opt.allow_changed_options)
    if count and state is None:
        load_bare_weights(folder, count, generator, discriminator)
    training = AdversarialTraining(
        over_ranks(generator, ranks), over_ranks(discriminator, ranks), repeats=repeats, lr=opt.lr, beta1=opt.beta1, beta2=opt.beta2,
        lambda_LSGAN=opt.lambda_LSGAN, lambda_FM=opt.lambda_FM, lambda_CC=opt.lambda_CC, gan_type=opt.GAN_type,
        fm_cumulative=opt.fm_cumulative, n_CC=opt.n_CC, ccc=opt.ccc, half=half_precision(ranks) if opt.data_type == 16 else None,
        ema=opt.ema)
    lr_factor, resumed = 1.0, state is not None      # the factor is halved by every rollback
    if state is not None:
        lr_factor = load_state(training, state, ranks)
        state = None
    if opt.compile:
        training.bare_generator.compile()
        training.bare_discriminator.compile()

    dataset = PairDataset(data.pairs, input_ch=opt.input_ch, target_ch=opt.target_ch, data_size=data.size, seed=opt.seed,
                          augmentation=Augmentation(opt.padding_size, opt.max_rotation_angle),
                          input_scaling=data.input_scaling, target_scaling=data.target_scaling)
    number, batch = len(dataset), opt.batch_size * ranks.size
    end = min(opt.n_epochs * number, opt.n_iterations or opt.n_epochs * number)

    stream = partial(ImageStream, number, seed=opt.seed, shuffle=not opt.no_shuffle)

    def files_of(iteration: int) -> str:
        """The inputs of the step that ended at `iteration`."""
        return ", ".join(str(data.pairs[index][0]) for _, index in next(iter(stream(batch, start=iteration - batch))))

    def refuse_divergence() -> None:
        if since := ranks.most(training.steps_since_divergence()):
            raise Diverged(count - (since - 1) * batch)

    with ExitStack() as stack:
        recorder = start_recorder(opt, folder, ranks, data, record, count)
        if recorder:
            stack.enter_context(recorder)
            if resumed:
                recorder.complete(count, training.state_dict())
        bar = stack.enter_context(tqdm(total=end, initial=count, unit="img", disable=not ranks.is_first, dynamic_ncols=True,
                                       mininterval=0.5 if sys.stderr.isatty() else 20))
        stop = 0                              # the number of the signal that asked for it
        while count < end and not stop:
            try:
                mine = stream(opt.batch_size, start=count, stop=end, rank=ranks.rank, world_size=ranks.size)
                for images in batches_on(ranks.device, dataset, mine, opt.n_workers):
                    before, count = count, count + batch
                    lr = lr_factor * learning_rate(opt.lr, before // number, opt.n_epochs, opt.epoch_decay)
                    training.set_learning_rate(lr)
                    training.step(images["input"], images["target"])
                    bar.update(batch)
                    stop = ranks.most(signals.received)
                    report, display, save = (passes(before, count, every) for every in (opt.report_freq, opt.display_freq, opt.save_freq))
                    save = save or count >= end or bool(stop)
                    if report or display or save:
                        refuse_divergence()
                    if report:
                        losses = dict(zip(TERMS, ranks.mean(training.mean_losses()).tolist(), strict=True))
                        bar.set_postfix({name: f"{losses[name]:.3f}" for name in ("loss_G", "loss_D", "CC")}, refresh=False)
                        if recorder:
                            recorder.report(count, count / number, lr, losses)
                    if recorder and display:
                        recorder.display(count, training.generate(recorder.sample.input.to(ranks.device)))
                    if save:
                        scores = validation_scores(training, data, ranks) if opt.val_during_train else {}
                        state = state_of(training, ranks, lr_factor)
                        if recorder:
                            recorder.save(count, count / number, lr, state, scores)
                    elif recorder and passes(before, count, number):
                        recorder.draw()
                    if stop:
                        break
            except Diverged as diverged:
                if recorder:
                    recorder.wait()
                where = f"the loss is no number at iteration {diverged}; its images: {files_of(diverged.args[0])}"
                count, lr_factor = roll_back(folder, training, ranks, where=where, before=count, allowed=opt.on_nan == "rollback")
                state = state_of(training, ranks, lr_factor)
                if recorder:
                    recorder.save_state(count, state)
                    recorder.rewind(count)
                bar.n = count
    if stop and count < end:
        ranks.say(f"stopped at iteration {count} of {end}, all saved; go on with the same command and --resume")
        return exit_status(stop)
    ranks.say(f"done: {folder.weights(count, 'G')}; see {folder.path / 'index.html'}")
    return 0


if __name__ == "__main__":
    run_command(main)
