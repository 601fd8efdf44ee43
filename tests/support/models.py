"""Folders of runs with a generator that has learned nothing, for those who only use it."""
import torch

from pix2pixcc.images.cubes import Channel
from pix2pixcc.networks import Generator
from pix2pixcc.utils import write_json

NETWORK = {"input_ch": 1, "target_ch": 1, "model": "pix2pixCC", "n_gf": 4, "n_downsample": 2, "n_residual": 1,
           "norm_type": "InstanceNorm2d", "padding_type": "replication", "trans_conv": True}
FORMATS = {"data_format_input": "fits", "data_format_target": "fits"}


def write_run(folder, names, *, size, checkpoints=("5_G",), described=True, target_limit=1500.0):
    """Make the folder of a run whose input channels are called `names`; returns it."""
    channels = [Channel.magnetogram(name, "") if "HMI" in name else Channel.euv(name, "") for name in names]
    network = NETWORK | {"input_ch": len(names)}
    scaling = {"input": {"lower": [channel.lower for channel in channels],
                         "upper": [channel.upper for channel in channels],
                         "log": [channel.scale == "log10" for channel in channels], "clip": False},
               "target": {"lower": [-target_limit], "upper": [target_limit], "log": [False], "clip": False}}
    target = [Channel.magnetogram("SDO/HMI magnetogram", "").to_dict()] if target_limit > 1 else None
    described_channels = {"input": [channel.to_dict() for channel in channels], "target": target} if described else None
    write_json(folder / "options.json", {"options": network | FORMATS, "size": size, "scaling": scaling,
                                         "channels": described_channels})
    (folder / "Model").mkdir()
    for seed, name in enumerate(checkpoints):
        torch.manual_seed(seed)
        torch.save(Generator(**network).state_dict(), folder / "Model" / f"{name}.pt")
    return folder
