"""Turns concepts into captions and says which concepts a caption is true of.

A caption made of a name means first the concept of that name, then those that carry the word as a tag;
one made of keywords means all concepts that carry them. Held-out concepts have no rows here at all.
"""
import math, random
import numpy as np
import torch
from tokenizers import Tokenizer
from model import CONTEXT

TEMPLATES = ["a picture of {}", "a photo of {}", "an image of {}", "an emoji of {}", "{} emoji", "a drawing of {}", "{} icon",
             "a picture of a {}", "a photo of a {}", "an icon of a {}", "picture of {}", "show me {}", "some {}", "photo of a {}", "the {}"]


def wrap(text):
    r = random.random()
    if r < .45:
        return text
    if r < .65:
        return ("an " if text[0] in "aeiou" else "a ") + text
    return random.choice(TEMPLATES).format(text)


def plural(text):
    if len(text) < 3 or text.endswith(("s", "x", "ch", "sh")):
        return text
    return text[:-1] + "ies" if text.endswith("y") and text[-2] not in "aeiou" else text + "s"


class Captions:
    def __init__(self, concepts, tokenizer_file, name_share=.7):
        self.concepts = concepts            # the trained ones, in the order of the prototypes
        index = {}
        number = lambda t: index.setdefault(t, len(index))
        self.names = [[number(t) for t in c["names"]] for c in concepts]
        self.tags = [[number(t) for t in c["keywords"]] for c in concepts]
        self.categories = [[number(t) for t in c["categories"]] for c in concepts]
        self.terms = list(index)
        n, words = len(concepts), [set(w for name in c["names"] for w in name.split()) for c in concepts]
        self.true = np.zeros((len(index), n), bool)
        named = np.zeros((len(index), n), np.float32)
        for i in range(n):
            self.true[self.names[i] + self.tags[i] + self.categories[i], i] = True
            named[self.names[i], i] = .5
            named[self.names[i][0], i] = 1
        for i, own in enumerate(words):
            for w in own:
                if w in index:
                    self.true[index[w], i] = True
        # an alias of many concepts, or of one that another concept bears as its first name, is no name
        exact = named == 1
        named[exact.any(1)] *= exact[exact.any(1)]
        tagged = self.true & (named == 0)
        share = lambda m: m / np.maximum(m.sum(1, keepdims=True), 1e-6)
        weight = np.where(~named.any(1), 0, np.where(tagged.any(1), name_share, 1))[:, None]
        self.target = torch.from_numpy((weight * share(named) + (1 - weight) * share(tagged.astype(np.float32))).astype(np.float32))
        self.rare = 1 / np.sqrt(np.maximum(1, self.true.sum(1)))
        self.true_t = torch.from_numpy(self.true)
        self.tokenizer = Tokenizer.from_file(tokenizer_file)
        self.tokenizer.no_padding()
        self.end = self.tokenizer.token_to_id("<|endoftext|>")

    def encode(self, texts):
        ids = [e.ids for e in self.tokenizer.encode_batch(texts)]
        length = min(CONTEXT, max(map(len, ids)))
        return torch.tensor([x + [self.end] * (length - len(x)) for x in ids])

    def name(self, i):
        """(caption, target over concepts, truth over concepts)"""
        t = self.names[i][0] if random.random() < .65 else random.choice(self.names[i])
        text, target, r = self.terms[t], self.target[t], random.random()
        if r < .12 and self.tags[i]:
            tag = self.terms[random.choice(self.tags[i])]
            text = f"{tag} {text}" if random.random() < .5 else f"{text} {tag}"
            target = torch.zeros(len(self.concepts)); target[i] = 1
        elif r < .2:
            text = plural(text)
        elif r < .26 and text.count(" ") > 1:
            text = " ".join(random.sample(text.split(), text.count(" ") + 1))
        return wrap(text), target, self.true_t[t]

    def keyword(self, i):
        pool = self.tags[i] + self.categories[i]
        if not pool:
            return self.name(i)
        weights = [self.rare[t] for t in self.tags[i]] + [.6 * self.rare[t] for t in self.categories[i]]
        chosen = list(dict.fromkeys(random.choices(pool, weights, k=random.choices([1, 2, 3], [.65, .25, .1])[0])))
        text = (" " if random.random() < .8 else " and ").join(self.terms[t] for t in chosen)
        if len(chosen) == 1 and random.random() < .1:
            text = plural(text)
        true = self.true_t[chosen].all(0)
        target = self.target[chosen[0]] if len(chosen) == 1 else true / true.sum()
        return wrap(text), target, true
