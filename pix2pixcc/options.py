"""Every flag of Train and Test in named groups, and what all commands build their parsers with.

Imports nothing heavy, so that `--help` is instant.
"""
from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from pix2pixcc.utils import FORMATS, VERSION

IMAGE_MODES = ("png", "jpg", "jpeg", "tif", "tiff")

# What `--model pix2pixHD` changes; everything else is Pix2PixCC's default.
PIX2PIXHD: dict[str, Any] = {
    "dataset_name": "AIA_to_HMI", "data_format_input": "fits", "data_format_target": "fits", "input_ch": 3,
    "logscale_input": [True], "saturation_lower_limit_input": [1.0], "saturation_upper_limit_input": [200.0],
    "saturation_lower_limit_target": [-3000.0], "saturation_upper_limit_target": [3000.0], "report_freq": 10,
    "saturation_clip_input": True, "saturation_clip_target": True, "n_gf": 32, "padding_type": "reflection",
    "epoch_decay": 100, "ch_balance": 0.0, "n_CC": 0, "lambda_CC": 0.0,
    "input_dir_train": "./datasets/{dataset_name}/Train/Input",
    "target_dir_train": "./datasets/{dataset_name}/Train/Target",
    "input_dir_test": "./datasets/{dataset_name}/Test/Input"}


class Parser(argparse.ArgumentParser):
    """Parse flags; an error is two lines, without the whole usage."""

    def error(self, message: str):
        self.exit(2, f"error: {message}\n       {self.prog} --help lists every flag\n")


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Show defaults, also where they depend on the data or the model (None in the parser, words in the help)."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        if action.default is None or (action.default is False and action.nargs == 0) or "(default" in text:
            return text
        if action.dest in PIX2PIXHD and isinstance(action.default, str | int | float):
            return f"{text} (default: %(default)s; pix2pixHD: {PIX2PIXHD[action.dest]})"
        return super()._get_help_string(action)

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return getattr(action.type, "__name__", "text").strip("_").upper()

    def _format_action_invocation(self, action: argparse.Action) -> str:
        takes_a_value = action.nargs != 0 and action.option_strings
        value = f" {self._format_args(action, self._get_default_metavar_for_optional(action))}" if takes_a_value else ""
        return ", ".join(action.option_strings) + value


def boolean(text: str) -> bool:
    """Parse True/False, true/false, 1/0, yes/no as they read."""
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return words[text.lower()]


def at_least(lowest: float, kind: Callable = int, highest: float = 10**15) -> Callable[[str], float]:
    """Return a parser of numbers of `kind` from `lowest` to `highest`."""
    def number(text: str) -> float:
        value = kind(text)
        if not value >= lowest:
            raise argparse.ArgumentTypeError(f"{text} is below {lowest}")
        if value > highest:
            raise argparse.ArgumentTypeError(f"{text} is above {highest:g}")
        return value
    number.__name__ = kind.__name__
    return number


def share(text: str) -> float:
    """Parse a number between 0 and 1, both excluded."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


COUNT, WHOLE, POSITIVE = at_least(1), at_least(0), at_least(0, float)
WIDTH, FEW, MANY = at_least(1, highest=4096), at_least(0, highest=16), at_least(0, highest=1000)  # of what takes memory


def parse(parser: argparse.ArgumentParser, argv: list[str] | None = None) -> argparse.Namespace:
    """Parse `argv`; the result's `given` is the set of flags that the user typed.

    Flags that were not typed take the defaults of `--model`, which the parser has from then on.
    """
    opt = parser.parse_args(argv)
    if vars(opt).get("model") == "pix2pixHD":
        parser.set_defaults(**{name: value for name, value in PIX2PIXHD.items() if name in opt})
        opt = parser.parse_args(argv)
    for name, value in vars(opt).items():
        if isinstance(value, str) and name.startswith(("input_dir", "target_dir")):
            setattr(opt, name, value.replace("{dataset_name}", opt.dataset_name))
    untyped = object()
    typed = parser.parse_args(argv, argparse.Namespace(**dict.fromkeys(vars(opt), untyped)))
    opt.given = frozenset(name for name, value in vars(typed).items() if value is not untyped)
    return opt


def scaling_flags(opt: argparse.Namespace, side: str) -> dict[str, Any]:
    """Return the arguments of `ScalingFlags`: the flags of one side, input or target, and which of them were typed."""
    names = {"lower": f"saturation_lower_limit_{side}", "upper": f"saturation_upper_limit_{side}",
             "log": f"logscale_{side}", "clip": f"saturation_clip_{side}"}
    typed = frozenset(key for key, name in names.items() if name in opt.given)
    return {"side": side, "typed": typed} | {key: getattr(opt, name) for key, name in names.items()}


def command_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """Make a parser with `--version` alone: help shows defaults, errors are short, no flag can be abbreviated."""
    parser = Parser(prog=prog, description=description, usage="%(prog)s [flags]", formatter_class=Help,
                    allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    return parser


def train_parser() -> argparse.ArgumentParser:
    """Make the parser of pix2pixCC_Train.py."""
    parser = _model_parser("pix2pixCC_Train.py", "Train Pix2PixCC or Pix2PixHD on pairs of images. "
                           "Everything goes to ./checkpoints/<dataset_name>/.",
                           data_size="pixels on a side; checked against the images (default: the images' own)")
    add = parser.add_argument_group("discriminator and losses").add_argument
    add("--n_D", type=at_least(1, highest=8), default=2, help="discriminator scales")
    add("--n_df", type=WIDTH, default=64, help="width of the discriminator's first layer")
    add("--ch_balance", type=POSITIVE, default=1.0,
        help="repeat the smaller side in the discriminator's input; 0: each side once")
    add("--GAN_type", choices=("LSGAN", "GAN"), default="LSGAN",
        help="adversarial loss: least squares, or cross entropy on logits")
    add("--n_CC", type=FEW, default=4, help="resolutions in the correlation loss")
    add("--ccc", type=boolean, default=True, help="True: concordance correlation; False: Pearson's")
    add("--lambda_LSGAN", type=POSITIVE, default=2.0, help="weight of the adversarial loss")
    add("--lambda_FM", type=POSITIVE, default=10.0, help="weight of the feature-matching loss")
    add("--lambda_CC", type=POSITIVE, default=5.0, help="weight of the correlation loss")
    add("--fm_cumulative", type=boolean, default=False,
        help="True: add the feature-matching terms up as the published code does, to continue an old run")

    add = parser.add_argument_group("training data").add_argument
    add("--input_dir_train", default="./datasets/Train/Input", help="folder of input images")
    add("--target_dir_train", default="./datasets/Train/Target", help="folder of target images, paired by name")
    add("--padding_size", type=at_least(0, highest=16384), default=0,
        help="pad by this many pixels, then crop at random back to size")
    add("--max_rotation_angle", type=POSITIVE, default=0.0,
        help="rotate each pair by one random angle within +- this, degrees")
    add("--no_shuffle", action="store_true", help="take the pairs in the order of their names")

    add = parser.add_argument_group("optimisation").add_argument
    add("--n_epochs", type=COUNT, default=150, help="times that every pair is seen")
    add("--n_iterations", type=COUNT, default=None, help="stop early, at this many images")
    add("--epoch_decay", type=WHOLE, default=None,
        help="from this epoch on, lower the learning rate linearly to 0 at the last (default: never; pix2pixHD: 100)")
    add("--lr", type=POSITIVE, default=2e-4, help="learning rate of Adam (eps 1e-8)")
    add("--beta1", type=POSITIVE, default=0.5, help="Adam")
    add("--beta2", type=POSITIVE, default=0.999, help="Adam")
    add("--ema", type=share, nargs="?", const=0.999, default=None, metavar="DECAY",
        help="keep an exponential moving average of the generator, with this decay a step (0.999 if no value is given)")

    add = parser.add_argument_group("watching").add_argument
    add("--report_freq", type=COUNT, default=100, help="iterations between loss lines")
    add("--save_freq", type=COUNT, default=10000, help="iterations between checkpoints")
    add("--display_freq", type=COUNT, default=100, help="iterations between sample images")
    add("--display_scale", type=float, default=1.0,
        help="multiply the scaled image before it is shown, then clip to -1..1")
    add("--display_range", type=POSITIVE, default=100.0, help="+- gauss at which sample sheets show magnetograms")
    add("--val_during_train", action="store_true", help="score the generator on a validation set at every checkpoint")
    add("--input_dir_val", default=None, help="validation inputs (default: --val_fraction of the training pairs)")
    add("--target_dir_val", default=None, help="validation targets")
    add("--val_fraction", type=share, default=None,
        help="hold out this share of the training pairs, in blocks spread over their time range")
    add("--val_gap", type=POSITIVE, default=13.6,
        help="days around the held-out blocks whose pairs are left out, half a rotation: their active regions are the "
             "same; 0: hold out the latest pairs, without a gap. A resumed run keeps its own")

    add = parser.add_argument_group("starting, stopping, resuming").add_argument
    add("--latest_iter", type=WHOLE, default=0, help="resume from this iteration's checkpoint")
    add("--resume", action="store_true", help="resume from the newest good state, if there is one")
    add("--allow_changed_options", action="store_true",
        help="resume although an option that changes the mathematics has changed")
    add("--keep_last", type=COUNT, default=2, help="training states to keep for resuming; weights are all kept")
    add("--on_nan", choices=("stop", "rollback"), default="stop",
        help="at a NaN loss: stop, or go back to the last good state with half the learning rate")
    add("--dry_run", action="store_true", help="print the summary of the run and stop")

    add = parser.add_argument_group("speed").add_argument
    add("--compile", action="store_true", help="compile the networks with torch.compile")
    add("--checkpoint_activations", action="store_true",
        help="save memory: store less for the backward pass and compute it again there")
    add("--deterministic", action="store_true", help="repeat bit for bit on a GPU too, more slowly")
    return parser


def test_parser() -> argparse.ArgumentParser:
    """Make the parser of pix2pixCC_Test.py."""
    parser = _model_parser("pix2pixCC_Test.py", "Generate images with a trained model: from model-ready files, or "
                           "from raw EUVI FITS. Networks and scaling come from the checkpoint's options.json; a flag "
                           "that contradicts it is an error.",
                           data_size="pixels on a side that inputs must have and raw files become (default: the "
                                     "training images')")
    add = parser.add_argument_group("generation").add_argument
    add("--input_dir_test", default="./datasets/Test/Input", help="folder of input images, or of raw EUVI files")
    add("--iteration", default="-1", help="which checkpoint: a number, 'best', or -1 for every one found")
    add("--save_scale", type=float, default=1.0, help="multiply the output before saving")
    add("--average", action="store_true", help="use the moving average of the weights (--ema in training); with "
        "--iteration best, that of the best checkpoint")
    add("--tolerance", type=POSITIVE, default=30.0,
        help="minutes within which raw files of several passbands belong together")
    add("--overwrite", action="store_true", help="generate again what is already there")
    add("--target_dir_test", default=None,
        help="folder of true images of the same names, where known, to show in the previews")
    add("--story", action="store_true", help="previews also show where the spacecraft stood")
    add("--no_preview", action="store_true", help="write no preview picture beside each output")
    add("--compile", action="store_true", help="compile the generator with torch.compile")
    add("--verify", metavar="FILE", nargs="+", default=None,
        help="check products instead: CHECKSUM, the checkpoint's SHA-256 and the inputs named in HISTORY, which are "
             "looked for in --input_dir_test where that is given; status 2 if anything is BAD")
    add("--checkpoint", metavar="FILE", default=None,
        help="with --verify: the weights, of products that lie away from their run")
    return parser


def _model_parser(prog: str, description: str, *, data_size: str) -> argparse.ArgumentParser:
    """Make a parser with the flags that training and generation share; `data_size` is the help of that flag."""
    parser = command_parser(prog, description)
    add = parser.add_argument_group("run").add_argument
    add("--dataset_name", default="pix2pixCC", help="names the folder under ./checkpoints/")
    add("--model", choices=("pix2pixCC", "pix2pixHD"), default="pix2pixCC", help="whose networks and defaults")
    add("--gpu_ids", default="0", help="GPU numbers, 0,1 for two; -1 for the CPU, also taken where there is no GPU")
    add("--data_type", type=int, choices=(16, 32), default=32,
        help="16: mixed precision (bfloat16, or float16 with loss scaling)")
    add("--batch_size", type=COUNT, default=1, help="images a step, on each GPU")
    add("--n_workers", type=MANY, default=1, help="loader processes")
    add("--seed", type=WHOLE, default=0, help="of weights, shuffling and augmentation")

    add = parser.add_argument_group("data").add_argument
    for side in ("input", "target"):
        add(f"--data_format_{side}", choices=FORMATS, default="tif", type=lambda text: text.lower().lstrip("."),
            metavar="FORMAT", help=f"extension of the {side} files: {', '.join(FORMATS)}; FITS may be compressed (.gz)")
    for side in ("input", "target"):
        add(f"--{side}_ch", type=WIDTH, default=1, help=f"{side} channels")
    add("--data_size", type=COUNT, default=None, help=data_size)
    auto = "(default: the data's cards, else 0..255 for 8-bit images, else -1..1{})"
    for side in ("input", "target"):
        add(f"--logscale_{side}", type=boolean, nargs="+", default=None,
            help=f"take log10 of the {side}; one value, or one a channel (default: the data's cards, else False"
                 + ("; pix2pixHD: True)" if side == "input" else ")"))
        for bound, becomes in (("lower", -1), ("upper", 1)):
            name = f"saturation_{bound}_limit_{side}"
            add(f"--{name}", type=float, nargs="+", default=None,
                help=f"the {side} value that becomes {becomes}, in data units; one value, or one a channel "
                     + auto.format(f"; pix2pixHD: {PIX2PIXHD[name][0]:g}"))
        add(f"--saturation_clip_{side}", type=boolean, default=False, help=f"clip the {side} to its limits")
    add("--image_mode", choices=IMAGE_MODES, default="png", help="format of sample images and previews")

    add = parser.add_argument_group("generator").add_argument
    add("--n_gf", type=WIDTH, default=64, help="width of the first layer")
    add("--n_downsample", type=FEW, default=4, help="times the image is halved")
    add("--n_residual", type=MANY, default=9, help="residual blocks")
    add("--trans_conv", type=boolean, default=True, help="False: bilinear upsampling and convolutions in the decoder")
    add("--norm_type", choices=("InstanceNorm2d", "BatchNorm2d"), default="InstanceNorm2d", help="normalisation")
    add("--padding_type", choices=("replication", "reflection", "zero"), default="replication", help="padding")
    return parser
