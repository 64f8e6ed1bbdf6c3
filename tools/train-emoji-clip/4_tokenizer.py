"""Trains the vocabulary: byte-level BPE laid out as CLIP's (256 bytes, 256 bytes with </w>, merges, start, end).

Held-out concepts give it nothing. The end token has the highest id, so argmax over the ids finds its first place,
and it is the padding too; the text tower is causal, so what follows that place cannot be seen.
"""
import json, os, sys
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

WORK, OUT = sys.argv[1], sys.argv[2]
VOCABULARY, CONTEXT = 2048, 24
START, END = "<|startoftext|>", "<|endoftext|>"
PATTERN = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def dress(tokenizer):
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()


def byte_characters():
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    rest = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + n) for n in range(len(rest))]


lines = ["a picture of a", "a photo of the", "an image of an", "drawing icon emoji of some", "and with in on"] * 20
for c in json.load(open(f"{WORK}/concepts.json")):
    if not c["held_out"]:
        lines += c["names"] * 4 + c["keywords"] + c["categories"][:1]
learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
dress(learner)
learner.train_from_iterator(lines, trainers.BpeTrainer(
    vocab_size=VOCABULARY, min_frequency=2, end_of_word_suffix="</w>", special_tokens=[], show_progress=False))
vocab = {}
for token in byte_characters() + [b + "</w>" for b in byte_characters()]:
    vocab[token] = len(vocab)
merges = []
for pair in json.loads(learner.to_str())["model"]["merges"]:
    a, b = pair if isinstance(pair, list) else pair.split(" ")
    if len(vocab) < VOCABULARY - 2 and a in vocab and b in vocab and a + b not in vocab:
        vocab[a + b] = len(vocab)
        merges.append((a, b))
vocab[START], vocab[END] = len(vocab), len(vocab) + 1
tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token=END, continuing_subword_prefix="", end_of_word_suffix="</w>", fuse_unk=False))
dress(tokenizer)
tokenizer.add_special_tokens([AddedToken(START, special=True, normalized=False), AddedToken(END, special=True, normalized=False)])
tokenizer.post_processor = processors.RobertaProcessing((END, vocab[END]), (START, vocab[START]), trim_offsets=False, add_prefix_space=False)
tokenizer.enable_truncation(CONTEXT)
os.makedirs(f"{OUT}/textual", exist_ok=True)
tokenizer.save(f"{OUT}/textual/tokenizer.json", pretty=False)
json.dump({"tokenizer_class": "CLIPTokenizer", "bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END,
           "padding": "max_length", "padding_side": "right", "model_max_length": CONTEXT, "do_lower_case": True,
           "add_prefix_space": False, "errors": "replace"}, open(f"{OUT}/textual/tokenizer_config.json", "w"), indent=1)
print(len(vocab), "tokens;", tokenizer.encode("a red apple, tennis & xylophones").tokens)
