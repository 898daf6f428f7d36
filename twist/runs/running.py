"""The groups of a recipe's fields that decide how a run computes and what it writes down, not what it learns."""

from __future__ import annotations

from dataclasses import dataclass

from twist.runs.fields import field, require, require_one_of


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """How a step is computed: faster or slower, with other roundings, but the same method."""

    precision: str = field(
        "auto",
        "Number format inside the network: float32, bfloat16 (weights stay float32), or auto, which takes bfloat16 on "
        "a GPU that has it and on a CPU where a trial shows it faster.",
    )
    compile: str = field(
        "off",
        "Whether torch.compile fuses network and views: off, default, reduce-overhead (CUDA graphs) or max-autotune; "
        "worth it on a GPU, where the first step then takes about a minute and later runs find the result cached.",
    )
    kernels: bool = field(
        True, "Whether the loss uses Triton kernels on a GPU, once they have answered there as plain torch does."
    )

    def __post_init__(self):
        require_one_of("compute.precision", self.precision, ("auto", "float32", "bfloat16"))
        require_one_of("compute.compile", self.compile, ("off", "default", "reduce-overhead", "max-autotune"))


@dataclass(frozen=True, kw_only=True)
class RecordConfig:
    """What is written down while the run goes on, and how often."""

    log_every_steps: int = field(
        1, "Steps between two lines of loss terms in the event log; a step with collapse numbers has a line as well."
    )
    diagnose_every_steps: int = field(
        10, "Steps between two sets of collapse numbers of the augmented batch; the first and last step have them too."
    )
    snapshot_every_epochs: float = field(5.0, "Epochs between two snapshots of the watch images.")
    checkpoint_every_epochs: float = field(10.0, "Epochs between two checkpoints; at most this much is lost by a kill.")
    train_samples: bool = field(
        True,
        "Whether entropy, class and agreement of every training image are kept of every epoch, from the training "
        "itself: 7 bytes an image and epoch, so 7 GB a run in the paper's largest recipes, which turn it off.",
    )
    outputs_every_steps: int = field(
        0,
        "Steps between two kept frames of what training says of every image, whose newest outputs are then on disk at "
        "every step; 0 keeps none. For at most 20,000 images and 256 classes.",
    )
    watch_images: int = field(10_000, "Largest number of fixed images whose entropy and class are followed.")
    keep_checkpoints: int = field(2, "Newest checkpoints kept on disk, at least 1.")

    def __post_init__(self):
        for name in ("log_every_steps", "diagnose_every_steps", "watch_images", "keep_checkpoints"):
            require(getattr(self, name) >= 1, f"record.{name}", getattr(self, name), "give 1 or more")
        every = self.outputs_every_steps
        require(every >= 0, "record.outputs_every_steps", every, "give 1 or more, or 0 for none")
        for name in ("snapshot_every_epochs", "checkpoint_every_epochs"):
            require(getattr(self, name) > 0, f"record.{name}", getattr(self, name), "give a number above 0")
