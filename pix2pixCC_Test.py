"""Generate images with a trained model.

    python pix2pixCC_Test.py --dataset_name demo --input_dir_test datasets/demo/Test/Input --iteration best
    python pix2pixCC_Test.py --dataset_name demo --input_dir_test my_EUVI_files      # raw FITS, in any folders
    python pix2pixCC_Test.py --verify checkpoints/demo/Image/Test/6000/*_AI.fits

Writes ./checkpoints/<dataset_name>/Image/Test/<iteration>/<input name>_AI.<ext> and a preview beside each.
"""
from pix2pixcc.options import parse, scaling_flags, test_parser
from pix2pixcc.utils import UserError, limit_spinning, run_command, stem_of

if __name__ == "__main__":
    parse(test_parser())                     # --help and mistyped flags are answered before torch is loaded
limit_spinning()

import sys
from collections.abc import Iterable, Iterator
from functools import partial

import torch
from tqdm import tqdm

from pix2pixcc.generation.output import Output
from pix2pixcc.generation.products import Finding, verify_product
from pix2pixcc.generation.sources import Loaded, Source, Unreadable, find_sources, load_source
from pix2pixcc.images.files import list_images
from pix2pixcc.model import FarsideModel, ModelDescription, checkpoints_of
from pix2pixcc.parallel.background import BackgroundWriter
from pix2pixcc.parallel.ranks import Ranks, half_precision, join_ranks, relaunch_on, seed_everything
from pix2pixcc.parallel.workers import in_order
from pix2pixcc.training.data import ScalingFlags
from pix2pixcc.training.folder import RunFolder
from pix2pixcc.training.record import RunRecord
from pix2pixcc.visuals.gallery import gallery


def main(argv: list[str] | None = None) -> int:
    opt = parse(test_parser(), argv)
    if opt.verify:
        return verify(opt.verify)
    status = relaunch_on(opt.gpu_ids, [__file__, *(sys.argv[1:] if argv is None else argv)])
    if status is not None:
        return status
    folder = RunFolder(opt.dataset_name)
    record = RunRecord.read(folder.options) if folder.options.is_file() else None
    if record is not None:
        vars(opt).update(record.settings({name: getattr(opt, name) for name in opt.given}))
    network, iterations = checkpoints_of(folder, opt.iteration, average=opt.average)
    with join_ranks(opt.gpu_ids) as ranks:
        seed_everything(opt.seed)
        description = describe(opt, record)
        sources, missing = ranks.on_first(lambda: find_sources(
            opt.input_dir_test, opt.data_format_input, opt.input_ch, described=description.channels,
            size=description.size, data_size=opt.data_size, tolerance=opt.tolerance, n_workers=opt.n_workers))
        for line in missing:
            ranks.say(line)
        ranks.say(f"{len(sources)} inputs, {len(iterations)} checkpoints of {folder.path}, "
                  f"on {ranks.size} x {ranks.device}")
        half = half_precision(ranks) if opt.data_type == 16 else None
        model = FarsideModel(description, device=ranks.device, half=half)
        if opt.compile:
            model.generator.compile()
        truths = {} if opt.target_dir_test is None else {
            stem_of(path): path for path in list_images(opt.target_dir_test, opt.data_format_target, side="target")}
        problems: dict[str, str] = {}
        for iteration in iterations:
            try:
                model.load(folder.weights(iteration, network), iteration)
            except UserError as error:
                if len(iterations) == 1:
                    raise
                problems[f"iteration {iteration}"] = str(error)
                continue
            image_mode = None if opt.no_preview else opt.image_mode
            output = Output(folder.generated / str(iteration), opt.data_format_target, description.target_scaling,
                            opt.save_scale, image_mode, model.provenance, opt.story, truths)
            keep = opt.iteration == "-1" and not opt.overwrite
            todo = [source for source in sources[ranks.rank::ranks.size] if not (keep and output.is_finished(source))]
            problems |= generate(model, todo, output, ranks, batch_size=opt.batch_size, n_workers=opt.n_workers,
                                 title=f"iteration {iteration}")
        ranks.barrier()
        failed = ranks.most(len(problems))
        if ranks.is_first:
            gallery(folder.path)
    for where, problem in problems.items():
        print(f"skipped {where}: {problem}", file=sys.stderr)
    ranks.say(f"done: {folder.generated}")
    return 2 if failed else 0


def describe(opt, record: RunRecord | None) -> ModelDescription:
    """Return what the model takes and gives: from options.json where there is one, for bare weights from the flags."""
    input, target = (ScalingFlags(**scaling_flags(opt, side)) for side in ("input", "target"))
    if record is None:
        is_8bit = opt.data_format_target in ("png", "jpg", "jpeg")
        return ModelDescription.of_flags(vars(opt), input, target, is_8bit=is_8bit)
    input.refuse_other(record.scaling("input"))
    target.refuse_other(record.scaling("target"))
    return ModelDescription.of_record(record)


def readable(loader: Iterable[Loaded | Unreadable], problems: dict[str, str], bar: tqdm) -> Iterator[Loaded]:
    """Yield what could be read; the others go to `problems`."""
    for item in loader:
        bar.update()
        if isinstance(item, Unreadable):
            problems[item.source.where] = item.problem
        else:
            yield item


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
             n_workers: int, title: str) -> dict[str, str]:
    """Generate from every source while others are read and written; return what could not be read, and why."""
    problems: dict[str, str] = {}
    load = partial(load_source, scaled=model.description.scaled, multiple=model.generator.multiple)
    loader = in_order(load, sources, min(n_workers, len(sources)))
    bar = tqdm(total=len(sources), desc=title, unit="img", disable=not ranks.is_first, dynamic_ncols=True,
               mininterval=0.5 if sys.stderr.isatty() else 20)
    with bar, BackgroundWriter() as writer:
        for batch in batches(readable(loader, problems, bar), batch_size):
            generated = model.generate(torch.stack([loaded.tensor for loaded in batch]))
            for loaded, image in zip(batch, generated, strict=True):
                writer.submit(output.write, loaded, image[loaded.crop])
    return problems


def verify(files: list[str]) -> int:
    """Check products and say what holds; return 2 if anything does not."""
    sound = True
    for file in files:
        try:
            findings = verify_product(file)
        except UserError as error:
            findings = [Finding(False, str(error))]
        for finding in findings:
            print(f"{'ok ' if finding.holds else 'BAD'} {file}: {finding.text}")
            sound &= finding.holds
    return 0 if sound else 2


if __name__ == "__main__":
    run_command(main)
