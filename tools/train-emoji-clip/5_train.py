"""Trains both towers at once against one learned prototype per concept, and keeps an averaged copy (WORK/model.pt).

Pictures are classified to their concept's prototype by cosine, texts to the prototypes they are true of; from a fifth of
the time on, texts and pictures of a batch also meet directly. The prototypes are thrown away at the end.
Two single-threaded processes (RANK 0 and 1) average their gradients. usage: 5_train.py WORK BUNDLE MINUTES
"""
import copy, math, os, random, sys, time
import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from augment import augment
from captions import Captions
from data import load, on_white
from model import Clip, DIM, unit

WORK, BUNDLE, MINUTES = sys.argv[1], sys.argv[2], float(sys.argv[3])
RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD", 1))
BATCH, RATE, DECAY, PICTURE_SCALE, TEXT_SCALE, SEED = 64, 2.2e-3, .05, 22., 20., 4
torch.set_num_threads(1)
torch.manual_seed(SEED)
if WORLD > 1:
    dist.init_process_group("gloo", init_method="tcp://127.0.0.1:29519", rank=RANK, world_size=WORLD)

pixels, trained, drawings, validation = load(WORK)
captions = Captions(trained, f"{BUNDLE}/textual/tokenizer.json")
may_flip = torch.tensor([c["group"] not in ("symbols", "flags") and not c["subgroup"].startswith("hand-") for c in trained])
chance = np.array([.6 if c["group"] == "flags" else 1. for c in trained])
chance /= chance.sum()
model = Clip()
model.picture.to(memory_format=torch.channels_last)
prototypes = torch.nn.Parameter(torch.randn(len(trained), DIM) / math.sqrt(DIM))
averaged = copy.deepcopy(model)
averaged_prototypes = prototypes.detach().clone()
flat = list(model.parameters()) + [prototypes]
optimiser = torch.optim.AdamW([
    {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": DECAY, "times": 1},
    {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0, "times": 1},
    {"params": [prototypes], "weight_decay": 0, "times": 3}], lr=RATE, betas=(.9, .98))
random.seed(SEED + RANK); np.random.seed(SEED + RANK); torch.manual_seed(SEED + 100 + RANK)


def log(line):
    if RANK == 0:
        print(line, flush=True)


def soft(logits, target):
    return -(target * F.log_softmax(logits, 1)).sum(1).mean()


def both_ways(logits, true):
    true = true.float()
    down = true / true.sum(1, keepdim=True).clamp_min(1)
    up = (true / true.sum(0, keepdim=True).clamp_min(1)).T
    return (soft(logits, down) + soft(logits.T, up)) / 2


def batch(with_text):
    picked = np.random.choice(len(trained), BATCH, replace=False, p=chance)
    ks = torch.tensor([random.choices(*zip(*drawings[i]))[0] for i in picked])
    x = augment(pixels[ks], may_flip[picked])
    if not with_text:
        return torch.from_numpy(picked), x, None, None, None
    texts, targets, truths = zip(*([captions.name(i) for i in picked] + [captions.keyword(i) for i in picked]))
    return torch.from_numpy(picked), x, captions.encode(list(texts)), torch.stack(targets), torch.stack(truths)


@torch.no_grad()
def validate():
    """Never-trained EmojiOne drawings of trained concepts, told apart among all prototypes and among all names."""
    averaged.eval()
    pictures, gold = averaged.picture(on_white(pixels[[k for k, _ in validation]])), torch.tensor([i for _, i in validation])
    names = averaged.text(captions.encode([c["names"][0] for c in trained]))
    hit = lambda scores: ((scores > scores[torch.arange(len(gold)), gold][:, None]).sum(1) < 1).float().mean().item()
    text = names @ unit(averaged_prototypes).T
    own = (text.argmax(1) == torch.arange(len(trained))).float().mean().item()
    return f"validation: drawing to prototype {hit(pictures @ unit(averaged_prototypes).T):.3f}, drawing to name {hit(pictures @ names.T):.3f}, name to own prototype {own:.3f}"


log(f"{len(trained)} concepts, {sum(map(len, drawings))} drawings, {len(validation)} validation drawings, "
    f"{sum(p.numel() for p in model.picture.parameters())} + {sum(p.numel() for p in model.text.parameters())} parameters")
start = saved = time.time()
step, sums = 0, np.zeros(4)
while True:
    progress = torch.tensor([(time.time() - start) / 60 / MINUTES])
    if WORLD > 1:
        dist.all_reduce(progress, op=dist.ReduceOp.MAX)
    progress = progress.item()
    if progress >= 1:
        break
    rate = RATE * min(1, (step + 1) / 100) * (.5 * (1 + math.cos(math.pi * progress)) * .99 + .01)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["times"]
    model.train()
    picked, x, ids, target, true = batch(with_text=step % 2 == 0)   # the text tower learns faster and needs half the steps
    pictures, p = model.picture(x), unit(prototypes)
    loss = F.cross_entropy(PICTURE_SCALE * pictures @ p.T, picked, label_smoothing=.05)
    sums[0] += loss.item() / 2
    if ids is not None:
        texts = model.text(ids)
        logits = TEXT_SCALE * texts @ p.T
        of_name, of_keyword = soft(logits[:BATCH], target[:BATCH]), soft(logits[BATCH:], target[BATCH:])
        loss = loss + .4 * of_name + .4 * of_keyword
        meet = torch.zeros(())
        if progress > .2:
            meet = both_ways(TEXT_SCALE * texts @ pictures.T, true[:, picked])
            loss = loss + .4 * meet
        sums[1:] += [of_name.item(), of_keyword.item(), meet.item()]
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    touched = [q for q in flat if q.grad is not None]
    if WORLD > 1:
        joined = torch.cat([q.grad.flatten() for q in touched])
        dist.all_reduce(joined)
        for q, g in zip(touched, (joined / WORLD).split([q.numel() for q in touched])):
            q.grad.copy_(g.view_as(q))
    torch.nn.utils.clip_grad_norm_(touched, 2.)
    optimiser.step()
    step += 1
    keep = min(.998, (step + 1) / (step + 10))
    with torch.no_grad():
        torch._foreach_lerp_(list(averaged.parameters()), list(model.parameters()), 1 - keep)
        averaged_prototypes.lerp_(prototypes, 1 - keep)
        for a, b in zip(averaged.buffers(), model.buffers()):
            a.copy_(b if not b.is_floating_point() else a * keep + b * (1 - keep))
    if step % 100 == 0:
        picture, name, keyword, met = sums / 50
        log(f"{progress * MINUTES:5.1f} min, step {step}, {step * BATCH * WORLD / (time.time() - start):.0f} pictures/s, rate {rate:.1e}, "
            f"loss: picture {picture:.3f} name {name:.3f} keyword {keyword:.3f} meeting {met:.3f}")
        sums[:] = 0
    if RANK == 0 and time.time() - saved > 120:
        saved = time.time()
        log(validate())
        torch.save({"model": averaged.state_dict(), "prototypes": averaged_prototypes}, f"{WORK}/model.pt.new")
        os.replace(f"{WORK}/model.pt.new", f"{WORK}/model.pt")
if RANK == 0:
    torch.save({"model": averaged.state_dict(), "prototypes": averaged_prototypes}, f"{WORK}/model.pt")
    log(f"{step} steps, {step * BATCH * WORLD} pictures, {(time.time() - start) / 60:.1f} minutes; " + validate())
