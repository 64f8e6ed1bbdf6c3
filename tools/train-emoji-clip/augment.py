"""Makes one drawing look like many: place, colour, background, line weight, blur, noise and holes, for a whole batch.

Takes premultiplied RGBA (uint8, 80 px), gives normalised RGB (64 px).
"""
import math, random
import torch
import torch.nn.functional as F
from model import MEAN, SIZE, STD

mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
YY, XX = torch.meshgrid(torch.linspace(-1, 1, SIZE), torch.linspace(-1, 1, SIZE), indexing="ij")
GREY = torch.tensor([.3, .59, .11]).expand(3, 3)
EYE, THIRD = torch.eye(3), torch.full((3, 3), 1 / 3)
TURN = torch.tensor([[0., -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)


def between(n, low, high):
    return torch.rand(n) * (high - low) + low


def some(n, share):
    return torch.where(torch.rand(n) < share)[0]


def place(x, may_flip):
    n = len(x)
    turn, zoom, aspect, shear = between(n, -1, 1) ** 3 * .4, 1 / between(n, .8, 1.1), torch.exp(between(n, -.14, .14)), between(n, -.15, .15)
    flip = torch.where((torch.rand(n) < .35) & may_flip, -1., 1.)
    c, s, theta = torch.cos(turn), torch.sin(turn), torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1], theta[:, 0, 2] = c * zoom * aspect * flip, (-s + shear) * zoom * aspect, between(n, -.1, .1)
    theta[:, 1, 0], theta[:, 1, 1], theta[:, 1, 2] = s * zoom * flip, c * zoom / aspect, between(n, -.1, .1)
    grid = F.affine_grid(theta, (n, 4, SIZE, SIZE), align_corners=False)
    bend = F.interpolate(torch.randn(n, 2, 5, 5) * .04, size=(SIZE, SIZE), mode="bilinear", align_corners=True).permute(0, 2, 3, 1)
    grid = grid + bend * (torch.rand(n) < .4).view(n, 1, 1, 1)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def colour(rgb):
    n = len(rgb)
    saturation = between(n, .6, 1.4)
    saturation[some(n, .05)] = 0
    saturation, angle = saturation.view(n, 1, 1), between(n, -.12, .12).view(n, 1, 1)
    contrast, light = between(n, .75, 1.25).view(n, 1, 1), between(n, .8, 1.2).view(n, 1, 1)
    hue = THIRD + (EYE - THIRD) * torch.cos(angle) + TURN * torch.sin(angle)
    matrix = contrast * light * (hue @ (saturation * EYE + (1 - saturation) * GREY))
    offset = (.5 - .5 * contrast) * light + between(n, -.08, .08).view(n, 1, 1)
    rgb = torch.baddbmm(offset.expand(n, 3, 1), matrix, rgb.reshape(n, 3, -1)).view_as(rgb)
    pick = some(n, .08)
    levels = between(len(pick), 3, 7).round().view(-1, 1, 1, 1)
    rgb[pick] = (rgb[pick] * levels).round() / levels
    return rgb.clamp_(0, 1)


def background(n):
    out, kind = torch.ones(n, 3, SIZE, SIZE), torch.rand(n)
    where = lambda low, high: torch.where((kind > low) & (kind <= high))[0]
    p = where(.66, .75); out[p] = 1 - .35 * torch.rand(len(p), 3, 1, 1)
    p = where(.75, .83); out[p] = torch.rand(len(p), 3, 1, 1)
    p = where(.83, .9)
    angle = between(len(p), 0, 6.28).view(-1, 1, 1, 1)
    ramp = ((XX * torch.cos(angle) + YY * torch.sin(angle)) * .5 + .5).clamp(0, 1)
    out[p] = torch.rand(len(p), 3, 1, 1) * ramp + torch.rand(len(p), 3, 1, 1) * (1 - ramp)
    p = where(.9, .96); out[p] = F.interpolate(torch.rand(len(p), 3, 5, 5), size=(SIZE, SIZE), mode="bilinear")
    p = where(.96, 1); out[p] = .12 * torch.rand(len(p), 3, 1, 1)
    return out


def normalise(rgb):
    return ((rgb - mean) / std).contiguous(memory_format=torch.channels_last)


def augment(drawings, may_flip):
    x = place(drawings.permute(0, 3, 1, 2).float() / 255, may_flip)
    alpha = x[:, 3:]
    x = torch.lerp(background(len(x)), colour(x[:, :3] / alpha.clamp_min(1e-3)), alpha)
    p = some(len(x), .08); x[p] = F.max_pool2d(x[p], 3, 1, 1)      # thin dark outlines vanish
    p = some(len(x), .05); x[p] = -F.max_pool2d(-x[p], 3, 1, 1)    # or grow
    p = some(len(x), .2); x[p] = F.avg_pool2d(F.pad(x[p], (1, 1, 1, 1), mode="replicate"), 3, 1)
    p = some(len(x), .2); x[p] += torch.randn_like(x[p]) * between(len(p), 0, .06).view(-1, 1, 1, 1)
    for i in some(len(x), .1).tolist():
        h, w = random.randint(7, 24), random.randint(7, 24)
        top, left = random.randint(0, SIZE - h), random.randint(0, SIZE - w)
        x[i, :, top:top + h, left:left + w] = torch.rand(3, 1, 1)
    return normalise(x.clamp_(0, 1))
