"""What training itself saw of every image: entropy, class and agreement of the views, from the forward of each step."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from twist.learn import information
from twist.runs.record import EPOCH_SAMPLES, NOT_VISITED


class Visits:
    """Every visit of an image in the epoch under way, and the agreements counted since they were last asked for.

    A step's rows are written one batch behind the other, on the device, and find their images when the epoch is over:
    no step waits for the device or looks rows up.

    Parameters
    ----------
    num_images
        Images of the set.
    steps_per_epoch, batch_size
        Batches of an epoch, and images of a batch; images that fill no batch are not visited.
    device
        Where the logits are.

    Notes
    -----
    `state` and `load_state` make a run that was stopped in the middle of an epoch write the same files as one that was
    not.
    """

    def __init__(self, num_images: int, *, steps_per_epoch: int, batch_size: int, device: torch.device):
        self._steps_per_epoch, self._batch_size = steps_per_epoch, batch_size
        places = steps_per_epoch * batch_size
        self._entropies = torch.full((places,), torch.nan, device=device)
        self._classes = torch.full((2, places), -1, dtype=torch.int32, device=device)
        self._agreed = np.zeros(num_images, np.int32)
        self._visited = np.zeros(num_images, np.int32)
        self._counted = 0  # places of this epoch that the two lines above hold already

    @torch.no_grad()
    def put(self, step: int, logits: Float[Tensor, "2 N C"], *, temperature: int | float = 1.0) -> None:
        """Keep what the logits of the two global views say of the batch of a step (0 is the first of the run).

        In between it takes several times the memory of the logits: call it when the backward has given back its own.
        """
        start = step % self._steps_per_epoch * self._batch_size
        places = slice(start, start + self._batch_size)
        log_probs = (logits.detach().float() / temperature).log_softmax(2)
        self._entropies[places] = information.sample_entropy(log_probs.flatten(0, 1)).unflatten(0, (2, -1)).mean(0)
        self._classes[:, places] = logits.argmax(2)

    def end_epoch(self, order: Int64[Tensor, " N"]) -> np.ndarray:
        """The epoch that is over, image by image, as `twist.runs.record.EPOCH_SAMPLES`; then the next one begins.

        Parameters
        ----------
        order
            Rows of all images in the order in which the epoch took them.
        """
        self._count(order, self._classes.shape[1])
        self._counted = 0
        first, second = self._classes.cpu().numpy()
        rows = order.numpy()[: len(first)]
        samples = np.zeros(len(order), EPOCH_SAMPLES)
        samples[:] = (np.nan, -1, NOT_VISITED)
        samples["sample_entropy"][rows] = self._entropies.cpu().numpy()
        samples["assignment"][rows] = first
        samples["agreement"][rows] = np.where(first < 0, NOT_VISITED, first == second)
        self._entropies.fill_(torch.nan)
        self._classes.fill_(-1)
        return samples

    def take_agreement(self, step: int, order: Int64[Tensor, " N"]) -> np.ndarray:
        """Share of each image's visits since the last call in which its two global views fell into one class.

        Parameters
        ----------
        step
            Steps done.
        order
            Rows of all images in the order in which the epoch under way takes them.

        Returns
        -------
        np.ndarray
            float32 ``[N]``, NaN where there was no visit.
        """
        self._count(order, step % self._steps_per_epoch * self._batch_size)
        share = np.full(len(self._visited), np.nan, np.float32)
        np.divide(self._agreed, self._visited, out=share, where=self._visited > 0)
        self._agreed[:], self._visited[:] = 0, 0
        return share

    def _count(self, order: Int[Tensor, " N"], until: int) -> None:
        places = slice(self._counted, until)
        first, second = self._classes[:, places].cpu().numpy()
        rows = order.numpy()[places]
        self._agreed[rows] += (first == second) & (first >= 0)  # an image stands once in an epoch's order
        self._visited[rows] += first >= 0
        self._counted = until

    def state(self) -> dict[str, Tensor]:
        """Everything kept, for a checkpoint."""
        return {
            "entropies": self._entropies,
            "classes": self._classes,
            "agreed": torch.from_numpy(self._agreed),
            "visited": torch.from_numpy(self._visited),
            "counted": torch.tensor(self._counted),
        }

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        self._entropies.copy_(state["entropies"])
        self._classes.copy_(state["classes"])
        self._agreed[:] = state["agreed"].numpy()
        self._visited[:] = state["visited"].numpy()
        self._counted = int(state["counted"])
