"""A small second head that trains the deeper half of a backbone directly."""

from jaxtyping import Float
from torch import Tensor, nn

HIDDEN_CHANNELS = 256
DROPOUT = 0.1


class AuxiliaryHead(nn.Module):
    """One convolution and a classifier of every place of a map.

    Args:
        in_chans: Channels of the map.
        num_classes: Channels of the output.

    Source: arXiv 1612.01105, section 3.3; FCNHead in the configuration mlla_b_upernet of
        LeapLabTHU/MLLA @66b6d29.
    """

    def __init__(self, in_chans: int, num_classes: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_chans, HIDDEN_CHANNELS, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(HIDDEN_CHANNELS)
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout2d(DROPOUT)
        self.classifier = nn.Conv2d(HIDDEN_CHANNELS, num_classes, 1)

    def forward(self, x: Float[Tensor, "B in_chans H W"]) -> Float[Tensor, "B num_classes H W"]:
        """Return the logits of every place."""
        x = self.activation(self.norm(self.convolution(x)))
        return self.classifier(self.dropout(x))
