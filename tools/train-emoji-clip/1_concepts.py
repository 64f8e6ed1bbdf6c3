"""Chooses the concepts: one per emoji, with names, keywords, categories and the drawing each icon set has of it.

Reads the npm packages in WORK/npm, writes WORK/concepts.json. Skin tones, genders, clock faces and flags that share
their drawing with another flag are left out: no picture could tell them apart. The unseen set (Twemoji) neither adds
nor removes a concept, it is only looked up.
"""
import json, os, random, re, sys, unicodedata

WORK = sys.argv[1]
MODULES = f"{WORK}/npm/node_modules"
HERE = os.path.dirname(os.path.abspath(__file__))
UNSEEN = "twemoji"
# family of designs -> sets. Renderings of one design count as one vendor.
FAMILIES = {
    "noto": ["noto"], "noto-v1": ["noto-v1"], "emojione": ["emojione"], "emojione-v1": ["emojione-v1"],
    "fluent": ["fluent-emoji", "fluent-emoji-flat", "fluent-3d", "fluent-emoji-high-contrast"],
    "openmoji": ["openmoji"], "fxemoji": ["fxemoji"], "streamline": ["streamline-emojis"],
    "flag": ["flag"], "circle-flags": ["circle-flags"], "flagpack": ["flagpack"],
}
FLAG_SETS = {"flag", "circle-flags", "flagpack"}
FREE = {"MIT", "Apache-2.0", "CC-BY-4.0", "CC-BY-SA-4.0"}
DROP_SUBGROUPS = {"alphanum", "keycap", "family", "gender", "hair-style", "skin-tone"}
KEEP = {"family", "couple with heart", "kiss"}
SINGLE_PEOPLE = {"man", "woman", "boy", "girl", "old man", "old woman", "man dancing", "woman dancing"}
# Territories whose flag is another country's flag, drawn again.
SAME_FLAG = {"BV", "SJ", "UM", "CP", "MF", "HM", "EA", "DG", "AC", "TA", "IC"}


def load(path):
    with open(f"{MODULES}/{path}") as file:
        return json.load(file)


def plain(text):
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower().replace("_", " ")
    text = re.sub(r"[^a-z0-9' .&-]", " ", text)
    return re.sub(r"\s+", " ", text).strip(" .-'")


def key(hexcode):
    return "-".join(x for x in hexcode.lower().split("-") if x != "fe0f")


def wanted(emoji, group, subgroup):
    label, parts = emoji["label"], emoji["hexcode"].split("-")
    if group in (None, "component") or (subgroup in DROP_SUBGROUPS and label not in KEEP):
        return False
    if "200D" in parts and ("2640" in parts or "2642" in parts):
        return False
    if parts[0] in ("1F468", "1F469") and "200D" in parts:
        return False
    if re.match(r"(man|woman|men|women)\b", label) and label not in SINGLE_PEOPLE and "levitating" not in label:
        return False
    if "facing right" in label or "beard" in label or re.match(r"person: ", label):
        return False
    if subgroup == "time" and ("o’clock" in label or "thirty" in label):
        return False
    if re.match(r"(couple with heart|kiss|family|people holding hands).+", label) or label.startswith("Japanese “"):
        return False
    if subgroup == "country-flag":
        return "".join(chr(int(p, 16) - 0x1F1E6 + 65) for p in parts) not in SAME_FLAG
    return True


def names_and_keywords(emoji, shortcodes, emojilib, categories):
    label = emoji["label"]
    name = plain(label)
    if label.startswith("flag: "):
        country = plain(label[6:])
        keywords = [plain(t) for t in emoji.get("tags", [])]
        return [f"flag of {country}", f"{country} flag", country], [k for k in keywords if len(k) > 3 and k != "flag"]
    names = [name]
    for code in shortcodes.get(emoji["hexcode"], ()):
        code = plain(code.replace("-", " "))
        if re.search("[a-z]{3}", code) and code not in names and not code.startswith("flag "):
            names.append(code)
    keywords = []
    for tag in emoji.get("tags", []) + emojilib.get(emoji["emoji"].replace("\ufe0f", ""), []):
        tag = plain(tag)
        if re.search("[a-z]{2}", tag) and len(tag) < 30 and tag not in keywords + names + categories:
            keywords.append(tag)
    return names[:5], keywords


def squash(text):
    return re.sub("[^a-z0-9]", "", plain(text))


def names_of_sets():
    """Squashed drawing name -> hexcode, from the sets that list both; the other sets use the same names."""
    known = {}
    for s in ["noto", "noto-v1", "openmoji"]:
        chars = load(f"@iconify-json/{s}/chars.json")
        for h, n in chars.items():
            known.setdefault(squash(n), key(h))
        by_name = {n: h for h, n in chars.items()}
        for alias, target in load(f"@iconify-json/{s}/icons.json").get("aliases", {}).items():
            if set(target) == {"parent"} and target["parent"] in by_name:
                known.setdefault(squash(alias), key(by_name[target["parent"]]))
    return known


def set_index(name, known):
    """hexcode -> drawing of one icon set."""
    if name == "fluent-3d":
        return {key(f.rsplit(".", 1)[0]): f for f in os.listdir(f"{MODULES}/@lobehub/fluent-emoji-3d/assets")}
    licence = load(f"@iconify-json/{name}/info.json")["license"]["spdx"]
    assert licence in FREE, (name, licence)
    chars = load(f"@iconify-json/{name}/chars.json")
    if chars:
        return {key(h): n for h, n in chars.items()}
    icons = load(f"@iconify-json/{name}/icons.json")
    index = {}
    for n in list(icons["icons"]) + list(icons.get("aliases", {})):
        country = re.fullmatch(r"([a-z]{2})(-4x3)?", n)
        if name in FLAG_SETS and country:
            index["-".join(f"{ord(c) - 97 + 0x1F1E6:x}" for c in country[1])] = n
            continue
        found = known.get(squash(n)) or known.get(squash(n).replace("flagfor", "flag"))
        if found and name not in FLAG_SETS:
            index.setdefault(found, n)
    return index


def main():
    emojis = load("emojibase-data/en/data.json")
    messages = load("emojibase-data/en/messages.json")
    group_of = {g["order"]: g["key"] for g in messages["groups"]}
    subgroup_of = {s["order"]: s["key"] for s in messages["subgroups"]}
    emojilib = {k.replace("\ufe0f", ""): v for k, v in load("emojilib/dist/emoji-en-US.json").items()}
    category_words = json.load(open(f"{HERE}/categories.json"))
    shortcodes = {}
    for vendor in ["cldr", "emojibase", "github", "iamcal", "joypixels"]:
        for h, v in load(f"emojibase-data/en/shortcodes/{vendor}.json").items():
            for code in [v] if isinstance(v, str) else v:
                if code not in shortcodes.setdefault(h, []):
                    shortcodes[h].append(code)
    known = names_of_sets()
    for emoji in emojis:
        known.setdefault(squash(emoji["label"].replace("’", "").replace(".", "")), key(emoji["hexcode"]))
    for emoji in emojis:
        for code in shortcodes.get(emoji["hexcode"], ()):
            known.setdefault(squash(code), key(emoji["hexcode"]))
    sets = {s: set_index(s, known) for family in FAMILIES.values() for s in family}
    # The 3D package also holds flags that are not Microsoft's: keep what the licensed set has.
    sets["fluent-3d"] = {h: f for h, f in sets["fluent-3d"].items() if h in sets["fluent-emoji"]}
    unseen = set_index(UNSEEN, known)

    concepts, seen_names = [], set()
    for emoji in emojis:
        group, subgroup = group_of.get(emoji.get("group")), subgroup_of.get(emoji.get("subgroup"))
        if not wanted(emoji, group, subgroup):
            continue
        h = key(emoji["hexcode"])
        drawings = {s: index[h] for s, index in sets.items() if h in index}
        families = [f for f, members in FAMILIES.items() if any(s in drawings for s in members)]
        categories = category_words.get(subgroup, [])
        names, keywords = names_and_keywords(emoji, shortcodes, emojilib, categories)
        if len(families) < 3 or names[0] in seen_names:
            continue
        seen_names.add(names[0])
        concepts.append(dict(id=len(concepts), hex=emoji["hexcode"], emoji=emoji["emoji"], names=names,
                             keywords=keywords, categories=categories, group=group, subgroup=subgroup,
                             drawings=drawings, unseen=unseen.get(h)))
    rng = random.Random(20)
    held = set(rng.sample(range(len(concepts)), round(0.05 * len(concepts))))
    trained = [c["id"] for c in concepts if c["id"] not in held and "emojione" in c["drawings"]]
    validation = set(rng.sample(trained, 150))
    for c in concepts:
        c["held_out"] = c["id"] in held          # trained by no vendor, not even its names
        c["validation"] = c["id"] in validation  # its EmojiOne drawings are kept for choosing settings
    json.dump(concepts, open(f"{WORK}/concepts.json", "w"), ensure_ascii=False, indent=0)
    print(f"{len(concepts)} concepts, {len(held)} held out, {sum(bool(c['unseen']) for c in concepts)} drawn by {UNSEEN}")
    print({s: sum(s in c["drawings"] for c in concepts) for s in sets})
    print({g: sum(c["group"] == g for c in concepts) for g in {c["group"]: 0 for c in concepts}})


main()
