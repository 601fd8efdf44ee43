"""Generate images with a trained model.

    python pix2pixCC_Test.py --dataset_name demo --input_dir_test datasets/demo/Test/Input --iteration best
    python pix2pixCC_Test.py --dataset_name demo --input_dir_test my_EUVI_files      # raw FITS, in any folders
    python pix2pixCC_Test.py --verify checkpoints/demo/Image/Test/6000/*_AI.fits

Writes ./checkpoints/<dataset_name>/Image/Test/<iteration>/<input name>_AI.<ext> and a preview beside each; of the
moving average, to <iteration>_ema.
"""
from pix2pixcc.options import parse, scaling_flags, test_parser
from pix2pixcc.utils import FORMATS, UserError, leave_when_asked, limit_spinning, run_command, stem_of

if __name__ == "__main__":
    leave_when_asked()
    parse(test_parser())                     # --help and mistyped flags are answered before torch is loaded
limit_spinning()

import contextlib
import errno
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path

import torch
from tqdm import tqdm

from pix2pixcc.generation.output import Output, bits_of_pictures
from pix2pixcc.generation.provenance import observations_in, verify_product
from pix2pixcc.generation.sources import Kept, Loaded, Source, Unreadable, find_sources, load_source
from pix2pixcc.images.checksums import Finding
from pix2pixcc.images.files import list_images
from pix2pixcc.model import FarsideModel, ModelDescription, checkpoints_of
from pix2pixcc.parallel.background import BackgroundWriter
from pix2pixcc.parallel.ranks import Ranks, half_precision, join_ranks, relaunch_on, seed_everything
from pix2pixcc.parallel.workers import in_order
from pix2pixcc.training.data import ScalingFlags
from pix2pixcc.training.folder import RunFolder
from pix2pixcc.training.record import RunRecord
from pix2pixcc.visuals.gallery import gallery

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)      # what holds for every further file as well


def main(argv: list[str] | None = None) -> int:
    opt = parse(test_parser(), argv)
    if opt.verify:
        return verify(opt.verify, opt.checkpoint, opt.input_dir_test if "input_dir_test" in opt.given else None,
                      n_workers=opt.n_workers)
    if opt.checkpoint:
        raise UserError("--checkpoint is for --verify; to generate, choose --dataset_name and --iteration")
    status = relaunch_on(opt.gpu_ids, [__file__, *(sys.argv[1:] if argv is None else argv)])
    if status is not None:
        return status
    folder = RunFolder(opt.dataset_name)
    network, iterations = checkpoints_of(folder, opt.iteration, average=opt.average)
    problems: dict[str, str] = {}
    with join_ranks(opt.gpu_ids) as ranks:
        for record, alike in groupby(iterations, partial(record_of, folder)):
            problems |= generate_with(opt, ranks, folder, record, network, list(alike), is_only=len(iterations) == 1)
        ranks.barrier()
        failed = ranks.most(len(problems))
        if ranks.is_first:
            gallery(folder.path)
    for where, problem in problems.items():
        print(f"skipped {where}: {problem}", file=sys.stderr)
    ranks.say(f"done: {folder.generated}")
    return 2 if failed else 0


def record_of(folder: RunFolder, iteration: int) -> RunRecord | None:
    """Return the record that a checkpoint was made under, which a resumed run may have changed since."""
    return RunRecord.read(folder.options, iteration) if folder.options.is_file() else None


def generate_with(opt: Namespace, ranks: Ranks, folder: RunFolder, record: RunRecord | None, network: str,
                  iterations: list[int], *, is_only: bool) -> dict[str, str]:
    """Generate with the checkpoints of one record; return what could not be, and why.

    Weights that cannot be read are a `UserError` if they are of the only checkpoint, else one of these problems.
    """
    opt = Namespace(**vars(opt))
    truth_formats = [opt.data_format_target]
    if record is not None:
        vars(opt).update(record.settings({name: getattr(opt, name) for name in opt.given}))
        formats = formats_of(record)
        vars(opt).update({name: value for name, value in formats.items() if name not in opt.given})
        truth_formats = [formats.get("data_format_target", opt.data_format_target), opt.data_format_target]
    seed_everything(opt.seed)
    description = describe(opt, record)
    bits = bits_of_pictures(opt.data_format_target, description.target_scaling, opt.save_scale,
                            as_trained=record is not None and opt.data_format_target == truth_formats[0])
    sources, missing = ranks.on_first(lambda: find_sources(
        opt.input_dir_test, opt.data_format_input, opt.input_ch, described=description.channels,
        size=description.size, data_size=opt.data_size, tolerance=opt.tolerance, n_workers=opt.n_workers,
        index_path=folder.generated / ".headers.jsonl"))
    for line in missing:
        ranks.say(line)
    ranks.say(f"{len(sources)} inputs, {len(iterations)} checkpoints of {folder.path}, "
              f"on {ranks.size} x {ranks.device}")
    half = half_precision(ranks) if opt.data_type == 16 else None
    model = FarsideModel(description, device=ranks.device, half=half)
    if opt.compile:
        model.generator.compile()
    truths = {} if opt.target_dir_test is None else find_truths(opt.target_dir_test, truth_formats)
    settings = description.settings | {"precision": str(half), "data_size": opt.data_size}
    problems: dict[str, str] = {}
    for iteration in iterations:
        try:
            model.load(folder.weights(iteration, network), iteration)
        except UserError as error:
            if is_only:
                raise
            problems[f"iteration {iteration}"] = str(error)
            continue
        image_mode = None if opt.no_preview else opt.image_mode
        output = Output(
            folder.generated / (f"{iteration}_ema" if network == "G_ema" else str(iteration)),
            opt.data_format_target, description.target_scaling, description.unit, opt.save_scale, image_mode,
            model.provenance, settings, opt.story, truths, bits)
        problems |= generate(model, sources[ranks.rank::ranks.size], output, ranks, batch_size=opt.batch_size,
                             n_workers=opt.n_workers, overwrite=opt.overwrite, title=f"iteration {iteration}")
    return problems


def describe(opt: Namespace, record: RunRecord | None) -> ModelDescription:
    """Return what the model takes and gives: from options.json where there is one, for bare weights from the flags."""
    input, target = (ScalingFlags(**scaling_flags(opt, side)) for side in ("input", "target"))
    if record is None:
        is_8bit = opt.data_format_target in ("png", "jpg", "jpeg")
        return ModelDescription.of_flags(vars(opt), input, target, is_8bit=is_8bit)
    input.refuse_other(record.scaling("input"))
    target.refuse_other(record.scaling("target"))
    return ModelDescription.of_record(record)


def formats_of(record: RunRecord) -> dict[str, str]:
    """Return the formats of the training images, which are the defaults of those here."""
    names = ("data_format_input", "data_format_target")
    formats = {name: record.options[name] for name in names if name in record.options}
    for name, value in formats.items():
        if value not in FORMATS:
            raise UserError(f"{record.path} is damaged: --{name} cannot be {value!r}; put it right, or give the flag")
    return formats


def find_truths(folder: str, formats: list[str]) -> dict[str, Path]:
    """Return the true images of a folder by name, of the first of `formats` that it holds."""
    *others, last = formats
    for data_format in others:
        with contextlib.suppress(UserError):
            return {stem_of(path): path for path in list_images(folder, data_format, side="target")}
    return {stem_of(path): path for path in list_images(folder, last, side="target")}


def readable(loader: Iterable[Loaded | Unreadable | Kept], problems: dict[str, str], bar: tqdm) -> Iterator[Loaded]:
    """Yield what could be read; what could not goes to `problems`, what need not is counted."""
    kept = 0
    for item in loader:
        bar.update()
        if isinstance(item, Loaded):
            yield item
        elif isinstance(item, Unreadable):
            problems[item.source.where] = item.problem
        else:
            kept += 1
            bar.set_postfix_str(f"{kept} already there", refresh=False)


def batches(loader: Iterable[Loaded], batch_size: int) -> Iterator[list[Loaded]]:
    """Yield loaded inputs in batches of one shape."""
    batch: list[Loaded] = []
    for loaded in loader:
        if batch and (len(batch) == batch_size or batch[0].tensor.shape != loaded.tensor.shape):
            yield batch
            batch = []
        batch.append(loaded)
    if batch:
        yield batch


def generate(model: FarsideModel, sources: list[Source], output: Output, ranks: Ranks, *, batch_size: int,
             n_workers: int, overwrite: bool, title: str) -> dict[str, str]:
    """Generate from every source while others are read and written; return what could not be, and why.

    What is there as it would be written again is kept, unless it is to `overwrite`.
    """
    problems: dict[str, str] = {}
    load = partial(load_source, scaled=model.description.scaled, multiple=model.generator.multiple,
                   is_finished=None if overwrite else output.is_finished)
    loader = in_order(load, sources, min(n_workers, len(sources)))
    bar = tqdm(total=len(sources), desc=title, unit="img", disable=not ranks.is_first, dynamic_ncols=True,
               mininterval=0.5 if sys.stderr.isatty() else 20)
    with bar, BackgroundWriter() as writer:
        for batch in batches(readable(loader, problems, bar), batch_size):
            generated = model.generate(torch.stack([loaded.tensor for loaded in batch]))
            for loaded, image in zip(batch, generated, strict=True):
                writer.submit(write, output, loaded, image[loaded.crop], problems)
    return problems


def write(output: Output, loaded: Loaded, image: torch.Tensor, problems: dict[str, str]) -> None:
    """Write one output; what is wrong with it goes to `problems`, but for a disk that takes no more files."""
    try:
        output.write(loaded, image)
    except MemoryError:
        raise
    except Exception as error:      # of one input: its header, its name, its true image
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in NO_ROOM:
            raise
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        problems[loaded.source.where] = kind + str(error)


def verify(files: list[str], checkpoint: str | None, inputs: str | None, *, n_workers: int) -> int:
    """Check products and say what holds, what does not and what was not checked; return 2 if anything does not.

    `checkpoint` and `inputs` are where the weights and the folder of the inputs are, if not in the products' run.
    """
    if checkpoint is not None and not Path(checkpoint).is_file():
        raise UserError(f"--checkpoint {checkpoint}: there is no such file")
    there = None if inputs is None else observations_in(inputs, n_workers=n_workers)
    sound = True
    for file in files:
        try:
            findings = verify_product(file, checkpoint, there)
        except UserError as error:
            findings = [Finding(False, str(error))]
        for finding in findings:
            print(f"{finding.answer:3} {file}: {finding.text}")
            sound &= finding.holds is not False
    return 0 if sound else 2


if __name__ == "__main__":
    run_command(main)
