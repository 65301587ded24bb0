"""What the loop itself needs to know; everything else belongs to the task."""

from __future__ import annotations

import math
from dataclasses import dataclass

PRECISIONS = ("fp32", "bf16", "fp16")
DEVICES = ("auto", "cpu")


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How long, in which portions and how exactly to train.

    Args:
        epochs: Passes through the training samples.
        batch: Samples of one update of the weights, over all processes. Samples that do not fill
            a batch are left out of the epoch; they are others each time.
        forward_batch: Samples of one forward pass: what shares the statistics of a batch norm and
            is mixed with one another. By default the share of a process, at most 128. The weights
            that come out depend on it, but not on the number of processes.
        seed: Of the initial weights, the order of samples and everything drawn at random.
        workers: Processes that read samples, for each process of the training; 0 for none.
        precision: "fp32", "bf16" or "fp16"; the latter two multiply in that type.
        clip_grad_norm: Largest norm of the gradient; None for no limit.
        ema_decay: Decay of the moving average of the weights, which is what is scored and saved;
            None for no average. At update n, from 0 on, it is n / (10 + n) where that is less.
        gradient_checkpointing: Compute activations again in the backward pass, for memory.
        evaluate_every: Epochs between scores; the last epoch is always scored.
        device: "auto", or "cpu" even where there is a GPU.

    Raises:
        ValueError: If a value makes no sense.
    """

    epochs: int
    batch: int
    forward_batch: int | None = None
    seed: int = 0
    workers: int = 4
    precision: str = "fp32"
    clip_grad_norm: float | None = 5.0
    ema_decay: float | None = 0.9999
    gradient_checkpointing: bool = False
    evaluate_every: int = 1
    device: str = "auto"

    def __post_init__(self) -> None:
        for name, least in (
            ("epochs", 1),
            ("batch", 1),
            ("forward_batch", 1),
            ("seed", 0),
            ("workers", 0),
            ("evaluate_every", 1),
        ):
            value = getattr(self, name)
            if value is None and name == "forward_batch":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name}={value!r} must be a whole number from {least} on")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision={self.precision!r} must be one of {', '.join(PRECISIONS)}")
        if self.device not in DEVICES:
            raise ValueError(
                f"device={self.device!r} must be auto or cpu; which GPUs to use is for the "
                "environment variable CUDA_VISIBLE_DEVICES to say"
            )
        if self.clip_grad_norm is not None and not 0 < self.clip_grad_norm < math.inf:
            raise ValueError(f"clip_grad_norm={self.clip_grad_norm} must be positive, or None")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay={self.ema_decay} must be between 0 and 1, or None")
