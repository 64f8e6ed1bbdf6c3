"""The two towers: a small convolutional net for pictures and a small causal transformer for texts, one space.

Written with operators every ONNX runtime has; attention is spelt out so that the export stays plain.
"""
import math
import torch
from torch import nn
import torch.nn.functional as F

DIM, SIZE, CONTEXT, VOCABULARY = 192, 64, 24, 2048
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def unit(x):
    return x / (x * x).sum(-1, keepdim=True).sqrt().clamp_min(1e-6)


class ConvBN(nn.Sequential):
    def __init__(self, a, b, k=3, stride=1, groups=1):
        super().__init__(nn.Conv2d(a, b, k, stride, k // 2, groups=groups, bias=False), nn.BatchNorm2d(b))


class Residual(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.body = nn.Sequential(*layers)
        nn.init.zeros_(self.body[-1][1].weight)

    def forward(self, x):
        return F.relu(x + self.body(x))


def basic(c):
    return Residual(ConvBN(c, c), nn.ReLU(), ConvBN(c, c))


def bottleneck(c, mid):
    return Residual(ConvBN(c, mid, 1), nn.ReLU(), ConvBN(mid, mid), nn.ReLU(), ConvBN(mid, c, 1))


class PictureTower(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            ConvBN(3, 32, 3, 2), nn.ReLU(),
            ConvBN(32, 64, 3, 2), nn.ReLU(), basic(64),
            ConvBN(64, 128, 3, 2), nn.ReLU(), basic(128), bottleneck(128, 64),
            ConvBN(128, 256, 3, 2), nn.ReLU(), bottleneck(256, 96), bottleneck(256, 96))
        self.project = nn.Linear(512, DIM)

    def forward(self, x):
        x = self.net(x)
        return unit(self.project(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)))


class Block(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.heads, self.width = heads, width
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x, mask):
        shape = (-1, x.shape[1], self.heads, self.width // self.heads)
        q, k, v = (t.reshape(shape).transpose(1, 2) for t in self.qkv(self.norm1(x)).split(self.width, -1))
        a = (q @ k.transpose(2, 3)) * (1 / math.sqrt(shape[-1])) + mask
        x = x + self.out((a.softmax(-1) @ v).transpose(1, 2).reshape(-1, x.shape[1], self.width))
        h = self.up(self.norm2(x))
        return x + self.down(h * torch.sigmoid(1.702 * h))


class TextTower(nn.Module):
    def __init__(self, width=128, heads=4, hidden=384, layers=2):
        super().__init__()
        self.token, self.place = nn.Embedding(VOCABULARY, width), nn.Parameter(torch.randn(CONTEXT, width) * 0.01)
        nn.init.normal_(self.token.weight, std=0.04)
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(layers))
        self.norm, self.project = nn.LayerNorm(width), nn.Linear(width, DIM)
        self.register_buffer("mask", torch.full((CONTEXT, CONTEXT), -1e4).triu(1), persistent=False)

    def forward(self, ids):
        length = ids.shape[1]
        x = self.token(ids) + self.place[:length]
        for block in self.blocks:
            x = block(x, self.mask[:length, :length])
        # CLIP's pooling: the first end token, which has the highest id. A one-hot sum, so no gather by row is needed.
        end = (torch.arange(length) == ids.argmax(-1, keepdim=True)).to(x.dtype)
        return unit(self.project(self.norm((x * end.unsqueeze(-1)).sum(1))))


class Clip(nn.Module):
    def __init__(self):
        super().__init__()
        self.picture, self.text = PictureTower(), TextTower()
