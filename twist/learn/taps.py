"""Where features are taken from a backbone, when not from its end."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from twist.runs.config import ConfigError


class LastBlocks(nn.Module):
    """The class tokens of a vision transformer's last blocks, each after the final norm, one beside the other.

    What the linear protocol for vision transformers reads: four blocks. The last columns are the usual features.

    Parameters
    ----------
    backbone
        A vision transformer as timm builds them.
    blocks
        How many of the last blocks.

    Raises
    ------
    ConfigError
        When the backbone is no vision transformer with a class token, or has fewer blocks.
    """

    def __init__(self, backbone: nn.Module, blocks: int):
        super().__init__()
        of_blocks = getattr(backbone, "blocks", None)
        if not hasattr(backbone, "get_intermediate_layers") or getattr(backbone, "cls_token", None) is None:
            raise ConfigError(
                f"blocks is {blocks}, but a {type(backbone).__name__} has no class token: leave it out, only vision "
                "transformers have several"
            )
        if not 1 <= blocks <= len(of_blocks or ()):
            raise ConfigError(f"blocks is {blocks}: give 1 to {len(of_blocks or ())}, the blocks of this transformer")
        self.backbone = backbone
        self.blocks = blocks

    def forward(self, views: Float[Tensor, "N channels S S2"]) -> Float[Tensor, "N D"]:
        """Features, ``blocks`` times as long as the backbone's own."""
        layers = self.backbone.get_intermediate_layers(  # type: ignore[operator]
            views, n=self.blocks, return_prefix_tokens=True, norm=True
        )
        return torch.cat([prefix[:, 0] for _, prefix in layers], 1)


class LastColumns(nn.Module):
    """A head that reads only the last features of each row: those of the last block."""

    def __init__(self, head: nn.Module, columns: int):
        super().__init__()
        self.head = head
        self.columns = columns

    def forward(self, features: Float[Tensor, "N D"]) -> Float[Tensor, "N C"]:
        """The head's logits."""
        return self.head(features[:, -self.columns :])
