"""Generate images with a trained model.

    python pix2pixCC_Test.py --dataset_name demo --input_dir_test datasets/demo/Test/Input --iteration best
    python pix2pixCC_Test.py --dataset_name demo --input_dir_test my_EUVI_files      # raw FITS, in any folders
    python pix2pixCC_Test.py --verify checkpoints/demo/Image/Test/6000/*_AI.fits

Writes ./checkpoints/<dataset_name>/Image/Test/<iteration>/<input name>_AI.<ext> and a preview beside each.
"""
from pix2pixcc.options import parse, scaling_flags, test_parser

if __name__ == "__main__":
    parse(test_parser())                     # --help and mistyped flags are answered before torch is loaded

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from pix2pixcc.generation.output import Output
from pix2pixcc.generation.provenance import Finding, verify_product
from pix2pixcc.generation.sources import Loaded, Source, SourceDataset, Unreadable, find_sources
from pix2pixcc.images.cubes import Channel
from pix2pixcc.images.files import Image, list_images
from pix2pixcc.networks import Generator
from pix2pixcc.parallel.background import BackgroundWriter
from pix2pixcc.parallel.ranks import Ranks, half_precision, join_ranks, relaunch_on, seed_everything
from pix2pixcc.parallel.workers import read_by_processes
from pix2pixcc.pipeline import Scaling
from pix2pixcc.training.checkpoints import load_weights
from pix2pixcc.training.data import ScalingFlags
from pix2pixcc.training.folder import RunFolder
from pix2pixcc.training.record import RunRecord
from pix2pixcc.utils import UserError, file_sha256, run_command, stem_of
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
    network = "G_ema" if opt.average else "G"
    if opt.iteration == "best" and (best := folder.best()):
        network = best.network
    iterations = folder.choose(opt.iteration, network)
    with join_ranks(opt.gpu_ids) as ranks:
        seed_everything(opt.seed)
        input_scaling, target_scaling, described, size = scalings(opt, record)
        sources, missing = ranks.on_first(lambda: find_sources(
            opt.input_dir_test, opt.data_format_input, opt.input_ch, described=described, size=size, tolerance=opt.tolerance,
            n_workers=opt.n_workers))
        for line in missing:
            ranks.say(line)
        ranks.say(f"{len(sources)} inputs, {len(iterations)} checkpoints of {folder.path}, on {ranks.size} x {ranks.device}")
        with torch.device("meta"):            # no memory for a network that the checkpoint may not be of
            generator = Generator(opt.input_ch, opt.target_ch, model=opt.model, n_gf=opt.n_gf, n_downsample=opt.n_downsample,
                                  n_residual=opt.n_residual, norm_type=opt.norm_type, padding_type=opt.padding_type,
                                  trans_conv=opt.trans_conv).eval()
        if opt.compile:
            generator.compile()
        truths = {} if opt.target_dir_test is None else {
            stem_of(path): path for path in list_images(opt.target_dir_test, opt.data_format_target, side="target")}
        half = half_precision(ranks.device) if opt.data_type == 16 else None
        problems: dict[str, str] = {}
        for iteration in iterations:
            weights = folder.weights(iteration, network)
            try:
                load_weights(generator, weights)
            except UserError as error:
                if len(iterations) == 1:
                    raise
                problems[f"iteration {iteration}"] = str(error)
                continue
            generator.to(ranks.device)
            if half is not None:
                generator.round_weights(half)
            output = Output(folder.generated / str(iteration), opt.data_format_target, target_scaling, opt.save_scale,
                            None if opt.no_preview else opt.image_mode,
                            {"model": opt.model, "checkpoint": str(weights), "checkpoint_sha256": file_sha256(weights),
                             "iteration": iteration}, opt.story, truths)
            keep = opt.iteration == "-1" and not opt.overwrite
            todo = [source for source in sources[ranks.rank::ranks.size] if not (keep and output.is_finished(source))]
            problems |= generate(generator, todo, input_scaling, output, ranks, batch_size=opt.batch_size, n_workers=opt.n_workers,
                                 half=half, title=f"iteration {iteration}")
        ranks.barrier()
        failed = ranks.most(len(problems))
        if ranks.is_first:
            gallery(folder.path)
    for where, problem in problems.items():
        print(f"skipped {where}: {problem}", file=sys.stderr)
    ranks.say(f"done: {folder.generated}")
    return 2 if failed else 0


def scalings(opt, record: RunRecord | None) -> tuple[Scaling | Callable[[Image], Scaling], Scaling, list[Channel] | None, int | None]:
    """Input scaling, target scaling, what the input channels are, and the side of the training images.

    From options.json where there is one; a bare checkpoint of the published code takes them from flags and each input's cards.
    """
    input, target = (ScalingFlags(**scaling_flags(opt, side)) for side in ("input", "target"))
    if record is not None:
        input.refuse_other(record.scaling("input"))
        target.refuse_other(record.scaling("target"))
        return record.scaling("input"), record.scaling("target"), record.channels("input"), record.size
    eight_bit = opt.data_format_target in ("png", "jpg", "jpeg")
    blank = Image(torch.zeros(opt.target_ch, 1, 1).numpy(), None, None, eight_bit, Path("target"))
    return input.scaling_of, target.scaling_of(blank), None, None


def readable(loader: Iterable[Loaded | Unreadable], problems: dict[str, str], bar: tqdm) -> Iterator[Loaded]:
    """What could be read; the others go to `problems`."""
    for item in read_by_processes(loader):
        bar.update()
        if isinstance(item, Unreadable):
            problems[item.source.where] = item.problem
        else:
            yield item


def batches(loader: Iterable[Loaded], batch_size: int) -> Iterator[list[Loaded]]:
    """Loaded inputs in batches of one shape."""
    batch: list[Loaded] = []
    for loaded in loader:
        if batch and (len(batch) == batch_size or batch[0].tensor.shape != loaded.tensor.shape):
            yield batch
            batch = []
        batch.append(loaded)
    if batch:
        yield batch


@torch.inference_mode()
def generate(generator: Generator, sources: list[Source], input_scaling: Scaling | Callable[[Image], Scaling], output: Output,
             ranks: Ranks, *, batch_size: int, n_workers: int, half: torch.dtype | None, title: str) -> dict[str, str]:
    """Generate from every source while others are read and written; returns what could not be read, and why."""
    problems: dict[str, str] = {}
    dataset = SourceDataset(sources, input_scaling, generator.multiple)
    loader = DataLoader(dataset, batch_size=None, num_workers=min(n_workers, len(sources)))
    bar = tqdm(total=len(sources), desc=title, unit="img", disable=not ranks.is_first, dynamic_ncols=True,
               mininterval=0.5 if sys.stderr.isatty() else 20)
    with bar, BackgroundWriter() as writer:
        for batch in batches(readable(loader, problems, bar), batch_size):
            input = torch.stack([loaded.tensor for loaded in batch]).to(ranks.device)
            with torch.autocast(ranks.device.type, dtype=half, enabled=half is not None):
                generated = generator(input)
            for loaded, image in zip(batch, generated.float().cpu(), strict=True):
                writer.submit(output.write, loaded, image[loaded.crop])
    return problems


def verify(files: list[str]) -> int:
    """Check products and say what holds; 2 if anything does not."""
    sound = True
    for file in files:
        try:
            findings = verify_product(file)
        except UserError as error:
            findings = [Finding(False, str(error))]
        sound &= all(finding.holds for finding in findings)
        for finding in findings:
            print(f"{'ok ' if finding.holds else 'BAD'} {file}: {finding.text}")
    return 0 if sound else 2


if __name__ == "__main__":
    run_command(main)
