"""Fits the text tower to the finished picture tower, which is frozen. Much cheaper than a step of both towers.

Every caption gets the direction it should point in: a keyword the one that ridge regression on the training drawings
finds to tell the concepts it is true of from all others, a name a blend of that and the middle of its concept's pictures.
usage: 5b_fit_text.py WORK BUNDLE STEPS [WITHHELD]   (reads and writes WORK/model.pt; WORK/joint.pt keeps what it read)
With WITHHELD, a check after the recipe: a new text tower that never reads so many of the keywords is fitted, the keyword
figure for them is printed beside that of the finished tower, and nothing is written.
"""
import copy, math, random, shutil, sys, time
import numpy as np
import torch
import torch.nn.functional as F
from augment import augment
from captions import Captions, plural, wrap
from data import load, on_white
from model import Clip, TextTower, unit

WORK, BUNDLE, STEPS, WITHHELD = sys.argv[1], sys.argv[2], int(sys.argv[3]), int((sys.argv + [0])[4])
BATCH, RATE, SCALE, NAME_SHARE, MIDDLE, RIDGE, PULL, MEET, SHARED, SEED = 256, 2e-3, 25., .9, .4, .3, 12, .5, .5, 5
torch.set_num_threads(1)
torch.manual_seed(SEED); random.seed(SEED); np.random.seed(SEED)
pixels, trained, drawings, validation = load(WORK)
captions = Captions(trained, f"{BUNDLE}/textual/tokenizer.json", NAME_SHARE)
if not WITHHELD:
    shutil.copy(f"{WORK}/model.pt", f"{WORK}/joint.pt")
state = torch.load(f"{WORK}/model.pt")
model = Clip()
model.load_state_dict(state["model"])
model.eval()


@torch.no_grad()
def embed(ks, look=on_white):
    return torch.cat([model.picture(look(pixels[ks[a:a + 256]])) for a in range(0, len(ks), 256)])


bank = [embed([k for k, _ in own]) for own in drawings]
weights = [torch.tensor([w for _, w in own]) / sum(w for _, w in own) for own in drawings]
mean = torch.stack([(b * w[:, None]).sum(0) for b, w in zip(bank, weights)])
middle = unit(mean)
centred = torch.cat([(b - mean.mean(0)) * w.sqrt()[:, None] for b, w in zip(bank, weights)])
solve = (mean - mean.mean(0)) @ torch.linalg.inv(centred.T @ centred + RIDGE * torch.eye(mean.shape[1]))   # truth @ solve: ridge regression
named = captions.true_t.sum(1) == 1            # terms that mean one concept, and first names even where others bear the word
named[[own[0] for own in captions.names]] = True
words = np.where(captions.true.sum(1) >= 3)[0]
only_tags = set(words.tolist()) - {t for own in captions.names + captions.categories for t in own}
unread = set(random.Random(SEED).sample(sorted(only_tags), WITHHELD))
captions.tags = [[t for t in own if t not in unread] for own in captions.tags]
shared = [t for t in np.where(captions.true.sum(1) > 1)[0] if t not in unread]


def goal(target, true, is_name):
    apart = unit(true.float() @ solve)
    return torch.where(is_name[:, None], unit(MIDDLE * unit(target @ middle) + (1 - MIDDLE) * apart), apart)


def caption(i, is_name):
    """(caption, target over concepts, truth over concepts, whether it means one concept first)"""
    if is_name:
        text, target, true = captions.name(i)
        return text, target, target > 0 if target.max() == 1 else true, True
    if random.random() < SHARED:               # keywords of several concepts, each as often as any other
        t = random.choice(shared)
        text = captions.terms[t]
        return wrap(plural(text) if random.random() < .1 else text), captions.target[t], captions.true_t[t], bool(named[t])
    text, target, true = captions.keyword(i)
    return text, target, true, bool(true.sum() == 1)


def by_length(tower, texts, parts=4):
    """Embeds texts of like length together: most are short, and padding costs as much as words."""
    ids = [e.ids for e in captions.tokenizer.encode_batch(texts)]
    order = sorted(range(len(ids)), key=lambda k: len(ids[k]))
    size, out = -(-len(ids) // parts), []
    for part in (order[a:a + size] for a in range(0, len(ids), size)):
        out.append(tower(torch.tensor([ids[k] + [captions.end] * (len(ids[part[-1]]) - len(ids[k])) for k in part])))
    return torch.cat(out)[torch.tensor(order).argsort()]


kept, gold = embed([k for k, _ in validation]), torch.tensor([i for _, i in validation])
# A gallery of all trained concepts: the drawings kept out where there are any, else a trained one made to look different.
gallery = embed([random.choices(*zip(*own))[0] for own in drawings], lambda x: augment(x, torch.zeros(len(x), dtype=torch.bool)))
gallery[gold] = kept


@torch.no_grad()
def keyword_map(tower, terms):
    average = []
    for t, s in zip(terms, (by_length(tower, [captions.terms[t] for t in terms]) @ gallery.T).numpy()):
        h = captions.true[t][np.argsort(-s)]
        average.append((np.cumsum(h)[h] / (np.where(h)[0] + 1)).mean())
    return np.mean(average)


@torch.no_grad()
def validate(tower):
    names, first = by_length(tower, [c["names"][0] for c in trained]), lambda scores, own: (scores.argmax(1) == own).float().mean().item()
    return (f"validation: drawing to name {first(kept @ names.T, gold):.3f}, name to drawing among {len(gold)} "
            f"{first(names[gold] @ kept.T, torch.arange(len(gold))):.3f}; gallery: name {first(names @ gallery.T, torch.arange(len(trained))):.3f}, "
            f"keyword mAP {keyword_map(tower, words):.3f} over {len(words)}")


if WITHHELD:
    finished, model.text = model.text, TextTower()
print("text, before,", validate(model.text), flush=True)
averaged = copy.deepcopy(model.text)
optimiser = torch.optim.AdamW(model.text.parameters(), lr=RATE, betas=(.9, .98), weight_decay=.02)
start = time.time()
for step in range(1, STEPS + 1):
    for group in optimiser.param_groups:
        group["lr"] = RATE * min(1, step / 20) * (.5 * (1 + math.cos(math.pi * step / STEPS)) * .98 + .02)
    picked = np.random.choice(len(trained), BATCH, replace=False)
    texts, target, true, is_name = zip(*[caption(i, n < BATCH // 2) for n, i in enumerate(picked)])
    target, true = torch.stack(target), torch.stack(true)
    embedded = by_length(model.text, list(texts))
    seen = torch.stack([b[torch.multinomial(w, 1)[0]] for b, w in zip(bank, weights)])   # one picture of each concept
    names = slice(0, BATCH // 2)
    meet = -(target[names] * F.log_softmax(SCALE * embedded[names] @ seen.T, 1)).sum(1).mean()
    far = (1 - (embedded * goal(target, true, torch.tensor(is_name))).sum(1)).mean()
    optimiser.zero_grad()
    (PULL * far + MEET * meet).backward()
    torch.nn.utils.clip_grad_norm_(model.text.parameters(), 1.)
    optimiser.step()
    with torch.no_grad():
        torch._foreach_lerp_(list(averaged.parameters()), list(model.text.parameters()), 1 - min(.99, (step + 1) / (step + 10)))
    if step % 500 == 0:
        print(f"{(time.time() - start) / 60:5.1f} min, step {step}, from goal {far.item():.3f}, {validate(averaged)}", flush=True)
print(f"{STEPS} steps, {(time.time() - start) / 60:.1f} minutes,", validate(averaged))
if WITHHELD:
    few = sorted(unread)
    print(f"{WITHHELD} keywords: mAP {keyword_map(finished, few):.3f} for the finished tower, {keyword_map(averaged, few):.3f} for one that never read them, "
          f"{captions.true[few].mean():.3f} by chance")
    sys.exit()
model.text = averaged
torch.save(state | {"model": model.state_dict()}, f"{WORK}/model.pt")
