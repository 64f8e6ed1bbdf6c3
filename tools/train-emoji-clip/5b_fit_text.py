"""Fits the text tower to the finished picture tower, which is frozen: a name goes to the middle of its concept's
pictures, a keyword to all pictures it is true of. Much cheaper than a step of both towers.
usage: 5b_fit_text.py WORK BUNDLE MINUTES   (reads and writes WORK/model.pt; WORK/joint.pt keeps what it read)
"""
import copy, math, random, shutil, sys, time
import numpy as np
import torch
import torch.nn.functional as F
from captions import Captions
from data import load, on_white
from model import Clip, unit

WORK, BUNDLE, MINUTES = sys.argv[1], sys.argv[2], float(sys.argv[3])
OUT = f"{WORK}/model.pt"
BATCH, RATE, SCALE, NAME_SHARE, PULL, SEED = 256, 1e-3, 25., .9, 12, 5
torch.set_num_threads(1)
torch.manual_seed(SEED); random.seed(SEED); np.random.seed(SEED)
pixels, trained, drawings, validation = load(WORK)
captions = Captions(trained, f"{BUNDLE}/textual/tokenizer.json", NAME_SHARE)
shutil.copy(f"{WORK}/model.pt", f"{WORK}/joint.pt")
state = torch.load(f"{WORK}/joint.pt")
model = Clip()
model.load_state_dict(state["model"])
model.eval()


@torch.no_grad()
def embed(ks):
    return torch.cat([model.picture(on_white(pixels[ks[a:a + 256]])) for a in range(0, len(ks), 256)])


bank = [embed([k for k, _ in own]) for own in drawings]
weights = [torch.tensor([w for _, w in own]) for own in drawings]
middle = unit(torch.stack([(b * w[:, None]).sum(0) for b, w in zip(bank, weights)]))
kept, gold = embed([k for k, _ in validation]), torch.tensor([i for _, i in validation])
truth = captions.true[:, gold]
words = [t for t in range(len(captions.terms)) if truth[t].sum() >= 3]


@torch.no_grad()
def validate(tower):
    names = tower(captions.encode([c["names"][0] for c in trained]))
    hit = (kept @ names.T).argmax(1) == gold
    best = (kept @ middle.T).argmax(1) == gold
    found = (names[gold] @ kept.T).argmax(1) == torch.arange(len(gold))
    average = []
    for t, s in zip(words, (tower(captions.encode([captions.terms[t] for t in words])) @ kept.T).numpy()):
        h = truth[t][np.argsort(-s)]
        average.append((np.cumsum(h)[h] / (np.where(h)[0] + 1)).mean())
    return (f"validation: drawing to name {hit.float().mean():.3f} (to middle {best.float().mean():.3f}), name to drawing among "
            f"{len(gold)} {found.float().mean():.3f}, keyword mAP {np.mean(average):.3f} over {len(words)}")


print("before,", validate(model.text), flush=True)
averaged = copy.deepcopy(model.text)
optimiser = torch.optim.AdamW(model.text.parameters(), lr=RATE, betas=(.9, .98), weight_decay=.02)
start, step = time.time(), 0
while (progress := (time.time() - start) / 60 / MINUTES) < 1:
    for group in optimiser.param_groups:
        group["lr"] = RATE * min(1, (step + 1) / 20) * (.5 * (1 + math.cos(math.pi * progress)) * .98 + .02)
    picked = np.random.choice(len(trained), BATCH, replace=False)
    texts, targets, _ = zip(*[captions.name(i) if n % 2 else captions.keyword(i) for n, i in enumerate(picked)])
    target = torch.stack(targets)
    seen = torch.stack([b[torch.multinomial(w, 1)[0]] for b, w in zip(bank, weights)])   # one picture of each concept
    embedded = model.text(captions.encode(list(texts)))
    loss = -(target * F.log_softmax(SCALE * embedded @ seen.T, 1)).sum(1).mean()
    loss = loss + PULL * (1 - (embedded * unit(target @ middle)).sum(1)).mean()
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.text.parameters(), 1.)
    optimiser.step()
    step += 1
    with torch.no_grad():
        torch._foreach_lerp_(list(averaged.parameters()), list(model.text.parameters()), 1 - min(.99, (step + 1) / (step + 10)))
    if step % 100 == 0:
        print(f"{progress * MINUTES:4.1f} min, step {step}, loss {loss.item():.3f}, {validate(averaged)}", flush=True)
print(f"{step} steps,", validate(averaged))
model.text = averaged
torch.save(state | {"model": model.state_dict()}, OUT)
