"""Writes the golden data of crates/clip. Usage: python make_golden.py OUT_DIR [FAMILY…]; without a family, all of it."""

import io
import json
import sys
from copy import deepcopy
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import transformers
from open_clip.hf_model import HFTextEncoder
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from timm.models.fastvit import FastVit, RepConditionalPosEnc
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch.nn.functional import normalize

from export import Call, export, export_dynamo

OUT = Path(sys.argv[1])
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
TEXTS = ["tennis", "A photo of a cat, sitting_on the  mat!", "", "Zwölf Boxkämpfer jagen Viktor", "日本の猫 🐈", "word " * 120, "e\u0301te\u0301"]
CORPUS = ["a photo of a dog", "tennis ball and a racket", "two cats on the mat", "twelve boxers chase Viktor over the dyke",
          "Zwölf Boxkämpfer jagen Viktor quer über den Sylter Deich", "日本の猫", "red apple green tree blue sky word"] * 20


def dump(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def picture(width, height, seed):
    """Smooth shapes and sharp noise, so that a wrong filter shows."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([127 + 120 * np.sin(x / (5 + c) + y / (9 - c)) for c in range(3)], -1)
    base[height // 4: height // 2, width // 4: width // 2] = rng.integers(0, 255, 3)
    return Image.fromarray((base + rng.normal(0, 18, base.shape)).clip(0, 255).astype(np.uint8))


def preprocessing():
    cases = []
    for index, (width, height) in enumerate([(97, 61), (61, 98), (300, 131), (32, 32), (20, 15), (211, 33)]):
        source = f"{width}x{height}.png"
        image = picture(width, height, index)
        (OUT / "preprocess").mkdir(parents=True, exist_ok=True)
        image.save(OUT / "preprocess" / source)
        for mode in ["shortest", "squash", "longest"]:
            for filter_ in ["bicubic", "bilinear"]:
                config = dict(size=(32, 32), mode="RGB", mean=MEAN, std=STD, interpolation=filter_, resize_mode=mode, fill_color=0)
                pixels = image_transform_v2(PreprocessCfg(**config), is_train=False)(image).numpy()
                cases.append(keep(source, f"{mode}-{filter_}", "open_clip", config, pixels))
        for name, filter_ in [("clip", 3), ("siglip", 2)]:
            config = {"do_resize": True, "resample": filter_, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
            if name == "clip":
                config |= {"size": {"shortest_edge": 36}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}, "image_mean": MEAN, "image_std": STD}
            else:
                config |= {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
            pixels = pillow_transformers(image, config)
            cases.append(keep(source, f"hf-{name}", "transformers", config, pixels))
    dump(OUT / "preprocess/cases.json", cases)


def pictures():
    """JPEGs that the image crate cannot write, with what Pillow makes of them."""
    folder = OUT / "decode"
    folder.mkdir(parents=True, exist_ok=True)
    image = picture(40, 24, 11)
    image.save(folder / "progressive.jpg", quality=92, progressive=True)
    image.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    for name in ["progressive", "cmyk"]:
        Image.open(folder / f"{name}.jpg").convert("RGB").save(folder / f"{name}.png")


def pillow_transformers(image, config):
    """What transformers' Pillow image processors compute, through them."""
    kind = transformers.SiglipImageProcessorPil if "crop_size" not in config else transformers.CLIPImageProcessorPil
    return kind(**config)(image, return_tensors="np")["pixel_values"][0]


def keep(source, name, kind, config, pixels):
    file = f"{Path(source).stem}-{name}.u8"
    mean, std = (MEAN, STD) if kind == "open_clip" else (config["image_mean"], config["image_std"])
    levels = (pixels * np.array(std)[:, None, None] + np.array(mean)[:, None, None]) * 255
    assert np.abs(levels - levels.round()).max() < 1e-2
    (OUT / "preprocess" / file).write_bytes(levels.round().astype(np.uint8).tobytes())
    return {"source": source, "expected": file, "kind": kind, "config": config}


def clip_tokenizer():
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>", continuing_subword_prefix=""))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    pattern = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(pattern, "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    trainer = trainers.BpeTrainer(vocab_size=420, end_of_word_suffix="</w>", initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  special_tokens=["<|startoftext|>", "<|endoftext|>"])
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer = ends_last(tokenizer)
    ends = [(token, tokenizer.token_to_id(token)) for token in ("<|startoftext|>", "<|endoftext|>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<|startoftext|> $A <|endoftext|>", special_tokens=ends)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def ends_last(tokenizer):
    """Gives the start and end tokens the highest ids, as OpenAI's vocabulary has them: CLIP finds the end of a text by ArgMax."""
    model = json.loads(tokenizer.to_str())["model"]
    ends = ["<|startoftext|>", "<|endoftext|>"]
    ordered = [token for token, _ in sorted(model["vocab"].items(), key=lambda entry: entry[1]) if token not in ends] + ends
    merges = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in model["merges"]]
    vocab = {token: index for index, token in enumerate(ordered)}
    reordered = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token=ends[1], end_of_word_suffix="</w>", continuing_subword_prefix=""))
    reordered.normalizer, reordered.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    reordered.add_special_tokens(ends)
    return reordered


def unigram_tokenizer(specials, template, lower):
    tokenizer = Tokenizer(models.Unigram())
    parts = [normalizers.NFKC()] + ([normalizers.Lowercase()] if lower else [])
    tokenizer.normalizer = normalizers.Sequence(parts)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=300, special_tokens=specials, unk_token="<unk>"))
    used = [token for token in specials if token in template]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=[(t, tokenizer.token_to_id(t)) for t in used])
    return tokenizer


def ids(tokenizer, folder, pad, length, clean, texts=TEXTS):
    """Saves the tokenizer without padding and truncation, as the hub has them, and returns padded ids and masks."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    dump(folder / "tokenizer_config.json", {"pad_token": pad, "model_max_length": length})
    tokenizer.enable_padding(length=length, pad_token=pad, pad_id=tokenizer.token_to_id(pad))
    tokenizer.enable_truncation(max_length=length)
    encoded = [tokenizer.encode(clean(text)) for text in texts]
    tokens = [e.ids for e in encoded]
    return torch.tensor(tokens, dtype=torch.int32), torch.tensor([e.attention_mask for e in encoded], dtype=torch.int32)


def whitespace(text):
    from open_clip.tokenizer import whitespace_clean
    return whitespace_clean(text).strip()


def canonical(text):
    from open_clip.tokenizer import canonicalize_text
    return canonicalize_text(text)


def finish(bundle, tokens, texts, encode_image, preprocess):
    """The embeddings of one picture, and everything the test needs."""
    image = picture(120, 90, 7)
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=92)
    (bundle / "picture.jpg").write_bytes(jpeg.getvalue())
    # The PNG holds what Pillow made of the JPEG: the same pixels without a second decoder between.
    decoded = Image.open(io.BytesIO(jpeg.getvalue())).convert("RGB")
    decoded.save(bundle / "picture.png")
    with torch.no_grad():
        embedding = normalize(encode_image(preprocess(decoded)[None]), dim=-1)[0]
    short = lambda rows: [round(value, 6) for value in rows]
    dump(bundle / "expected.json", {"texts": TEXTS, "ids": tokens.tolist(), "text_embeddings": [short(row) for row in normalize(texts, dim=-1).tolist()],
                                    "image_embedding": short(embedding.tolist())})


def shake(model):
    """Random weights of a size at which every layer matters to the result."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.6 / parameter.shape[-1] ** 0.5)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def open_clip_config(bundle, context, mode, text_extra):
    config = dict(size=(32, 32), mode="RGB", mean=MEAN, std=STD, interpolation="bicubic", resize_mode=mode, fill_color=0)
    dump(bundle / "visual/preprocess_cfg.json", config)
    dump(bundle / "config.json", {"embed_dim": 24, "vision_cfg": {"image_size": 32}, "text_cfg": {"context_length": context} | text_extra})
    return image_transform_v2(PreprocessCfg(**config), is_train=False)


def tiny_open_clip(vocab, context, quick_gelu, **text):
    torch.manual_seed(1)
    return shake(CLIP(24, CLIPVisionCfg(layers=2, width=32, head_width=8, patch_size=8, image_size=32),
                      CLIPTextCfg(context_length=context, vocab_size=vocab, width=32, heads=4, layers=2, **text), quick_gelu=quick_gelu))


def export_open_clip(bundle, model, tokens, batch_free=True):
    export(Call(model, lambda m, x: m.encode_image(x, normalize=True)), (torch.randn(1, 3, 32, 32),), bundle / "visual/model.onnx", ["image"], "embedding", batch_free)
    export(Call(model, lambda m, x: m.encode_text(x, normalize=True)), (tokens[:1],), bundle / "textual/model.onnx", ["text"], "embedding", batch_free)


def openclip():
    """OpenAI CLIP (QuickGELU)."""
    bundle, tokenizer = OUT / "openclip", clip_tokenizer()
    tokens, _ = ids(tokenizer, bundle / "textual", "<|endoftext|>", 77, whitespace)
    model = tiny_open_clip(tokenizer.get_vocab_size(), 77, True)
    export_open_clip(bundle, model, tokens)
    preprocess = open_clip_config(bundle, 77, "shortest", {})
    finish(bundle, tokens, model.encode_text(tokens).detach(), model.encode_image, preprocess)


def laion():
    """LAION CLIP (GELU), exported with a fixed batch of one and with the pixels as raw bytes, normalised inside."""
    bundle, tokenizer = OUT / "laion-uint8", clip_tokenizer()
    tokens, _ = ids(tokenizer, bundle / "textual", "<|endoftext|>", 77, whitespace)
    model = tiny_open_clip(tokenizer.get_vocab_size(), 77, False)
    export_open_clip(bundle, model, tokens, batch_free=False)
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    inside = Call(model, lambda m, x: m.encode_image(((x.float() / 255 - mean) / std).permute(0, 3, 1, 2), normalize=True))
    export(inside, (torch.zeros(1, 32, 32, 3, dtype=torch.uint8),), bundle / "visual/model.onnx", ["image"], "embedding", False)
    preprocess = open_clip_config(bundle, 77, "shortest", {})
    finish(bundle, tokens, model.encode_text(tokens).detach(), model.encode_image, preprocess)


def dynamo(name, opset):
    """OpenAI CLIP by PyTorch's newer exporter, batch of one; from opset 23 on with the operator Attention."""
    bundle, tokenizer = OUT / name, clip_tokenizer()
    tokens, _ = ids(tokenizer, bundle / "textual", "<|endoftext|>", 77, whitespace)
    model = tiny_open_clip(tokenizer.get_vocab_size(), 77, True)
    torch.backends.mha.set_fastpath_enabled(False)
    export_dynamo(Call(model, lambda m, x: m.encode_image(x, normalize=True)), (torch.randn(1, 3, 32, 32),), bundle / "visual/model.onnx", "image", opset)
    export_dynamo(Call(model, lambda m, x: m.encode_text(x, normalize=True)), (tokens[:1],), bundle / "textual/model.onnx", "text", opset)
    preprocess = open_clip_config(bundle, 77, "shortest", {})
    finish(bundle, tokens, model.encode_text(tokens).detach(), model.encode_image, preprocess)


def siglip_open_clip(name="siglip-openclip", batch_free=True):
    """A SigLIP text tower as open_clip builds it: no causal mask, last token, tanh GELU; canonical text; squash."""
    bundle = OUT / name
    tokenizer = unigram_tokenizer(["<pad>", "</s>", "<unk>"], "$A </s>", False)
    tokens, _ = ids(tokenizer, bundle / "textual", "</s>", 64, canonical)
    model = tiny_open_clip(tokenizer.get_vocab_size(), 64, False, no_causal_mask=True, proj_bias=True, pool_type="last",
                           norm_kwargs={"eps": 1e-6}, act_kwargs={"approximate": "tanh"})
    export_open_clip(bundle, model, tokens, batch_free)
    preprocess = open_clip_config(bundle, 64, "squash", {"tokenizer_kwargs": {"clean": "canonicalize"}, "hf_tokenizer_name": "timm/ViT-B-16-SigLIP"})
    finish(bundle, tokens, model.encode_text(tokens).detach(), model.encode_image, preprocess)


def xlm_roberta(name="xlm-roberta", batch_free=True):
    """A multilingual text tower as open_clip builds it: XLM-R, mean pooling over what is no padding, projection."""
    bundle = OUT / name
    tokenizer = unigram_tokenizer(["<s>", "<pad>", "</s>", "<unk>"], "<s> $A </s>", False)
    tokens, _ = ids(tokenizer, bundle / "textual", "<pad>", 77, whitespace)
    config = transformers.XLMRobertaConfig(vocab_size=tokenizer.get_vocab_size(), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                                           intermediate_size=64, max_position_embeddings=90, pad_token_id=1, attn_implementation="eager")
    torch.manual_seed(2)
    text = shake(torch.nn.ModuleList([transformers.XLMRobertaModel(config, add_pooling_layer=False), torch.nn.Linear(32, 24, bias=False)]))

    def encode(model, ids):
        mask = (ids != 1).long()
        hidden = model[0](input_ids=ids, attention_mask=mask).last_hidden_state
        pooled = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        return normalize(model[1](pooled), dim=-1)

    model = tiny_open_clip(8, 8, False)
    export(Call(model, lambda m, x: m.encode_image(x, normalize=True)), (torch.randn(1, 3, 32, 32),), bundle / "visual/model.onnx", ["image"], "embedding", batch_free)
    export(Call(text, encode), (tokens[:1],), bundle / "textual/model.onnx", ["text"], "embedding", batch_free)
    preprocess = open_clip_config(bundle, 77, "shortest", {"hf_model_name": "xlm-roberta-base"})
    finish(bundle, tokens, encode(text, tokens).detach(), model.encode_image, preprocess)


def nllb(name="nllb", batch_free=True):
    """A multilingual text tower of the NLLB kind, by open_clip's own adapter: an M2M100 encoder, the first place (the language token), projection."""
    bundle = OUT / name
    tokenizer = unigram_tokenizer(["<s>", "<pad>", "</s>", "<unk>", "eng_Latn"], "eng_Latn $A </s>", False)
    tokens, _ = ids(tokenizer, bundle / "textual", "<pad>", 77, whitespace)
    config = transformers.M2M100Config(vocab_size=tokenizer.get_vocab_size(), d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=64,
                                       decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=64, max_position_embeddings=90, pad_token_id=1,
                                       scale_embedding=True, dropout=0.0)
    torch.manual_seed(5)
    with patch("transformers.AutoConfig.from_pretrained", return_value=config):
        text = shake(HFTextEncoder("nllb", 24, pooler_type="cls_pooler", proj_type="linear", pretrained=False))
    encode = lambda model, ids: normalize(model(ids), dim=-1)
    model = tiny_open_clip(8, 8, False)
    export(Call(model, lambda m, x: m.encode_image(x, normalize=True)), (torch.randn(1, 3, 32, 32),), bundle / "visual/model.onnx", ["image"], "embedding", batch_free)
    export(Call(text, encode), (tokens[:1],), bundle / "textual/model.onnx", ["text"], "embedding", batch_free)
    preprocess = open_clip_config(bundle, 77, "squash", {"hf_model_name": "facebook/nllb-200-distilled-600M"})
    finish(bundle, tokens, encode(text, tokens).detach(), model.encode_image, preprocess)


def fp16(name, half_ports):
    """OpenAI CLIP in half floats: inputs and outputs too, or behind casts as converters do that keep the ports. Expected is what float32 computes."""
    bundle, tokenizer = OUT / name, clip_tokenizer()
    tokens, _ = ids(tokenizer, bundle / "textual", "<|endoftext|>", 77, whitespace)
    model = tiny_open_clip(tokenizer.get_vocab_size(), 77, True)
    half = deepcopy(model).half()
    into, out = (lambda x: x, lambda x: x) if half_ports else (lambda x: x.half(), lambda x: x.float())
    pixels = torch.randn(1, 3, 32, 32)
    export(Call(half, lambda m, x: out(m.encode_image(into(x)))), (pixels.half() if half_ports else pixels,), bundle / "visual/model.onnx", ["image"], "embedding")
    export(Call(half, lambda m, x: out(m.encode_text(x))), (tokens[:1],), bundle / "textual/model.onnx", ["text"], "embedding")
    preprocess = open_clip_config(bundle, 77, "shortest", {})
    finish(bundle, tokens, model.encode_text(tokens).detach(), model.encode_image, preprocess)


def mobileclip():
    """MobileCLIP: a FastViT picture tower with the blocks of its small variants, pixels of 0 to 1, a text tower without causal mask.

    Without one the padding counts. open_clip trained it with zeros behind the end token, whatever the tokenizer file pads with."""
    bundle, tokenizer = OUT / "mobileclip", clip_tokenizer()
    tokens, _ = ids(tokenizer, bundle / "textual", "<|endoftext|>", 77, whitespace)
    torch.manual_seed(6)
    vision = FastVit(layers=(1, 1, 1, 1), embed_dims=(8, 16, 32, 64), mlp_ratios=(3, 3, 3, 3), se_downsamples=(False, False, True, True),
                     downsamples=(False, True, True, True), pos_embs=(None, None, None, partial(RepConditionalPosEnc, spatial_shape=(7, 7))),
                     token_mixers=("repmixer", "repmixer", "repmixer", "attention"), lkc_use_act=True, num_classes=24)
    vision = vision.eval()
    text = tiny_open_clip(tokenizer.get_vocab_size(), 77, False, no_causal_mask=True)
    image = lambda m, x: normalize(m(x), dim=-1)
    export(Call(vision, image), (torch.rand(1, 3, 64, 64),), bundle / "visual/model.onnx", ["image"], "embedding")
    export(Call(text, lambda m, x: m.encode_text(x, normalize=True)), (tokens[:1],), bundle / "textual/model.onnx", ["text"], "embedding")
    config = dict(size=(64, 64), mode="RGB", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), interpolation="bilinear", resize_mode="shortest", fill_color=0)
    dump(bundle / "visual/preprocess_cfg.json", config)
    vision_config = {"timm_model_name": "fastvit_mci0", "image_size": 64}
    dump(bundle / "config.json", {"embed_dim": 24, "vision_cfg": vision_config, "text_cfg": {"context_length": 77, "no_causal_mask": True}})
    preprocess = image_transform_v2(PreprocessCfg(**config), is_train=False)
    end = tokenizer.token_to_id("<|endoftext|>")
    ended = ((tokens == end).int().cumsum(1) - (tokens == end).int()) > 0
    finish(bundle, tokens, text.encode_text(tokens.masked_fill(ended, 0)).detach(), vision, preprocess)


def hf(bundle, model, tokenizer_parts, preprocess_config, config, output, text_inputs):
    """The layout `onnx/{vision_model,text_model}.onnx` with transformers' names and 64-bit ids."""
    tokens, mask = tokenizer_parts
    tokens, mask = tokens.long(), mask.long()
    given = [tokens, mask][: len(text_inputs)]
    vision = Call(model, lambda m, x: pooled(m.get_image_features(pixel_values=x)))
    text = Call(model, lambda m, *a: pooled(m.get_text_features(**dict(zip(text_inputs, a)))))
    export(vision, (torch.randn(1, 3, 32, 32),), bundle / "onnx/vision_model.onnx", ["pixel_values"], output[0])
    export(text, tuple(t[:1] for t in given), bundle / "onnx/text_model.onnx", text_inputs, output[1])
    dump(bundle / "preprocessor_config.json", preprocess_config)
    dump(bundle / "config.json", config)
    finish(bundle, tokens, text(*given).detach(), vision, lambda image: torch.tensor(pillow_transformers(image, preprocess_config)))


def pooled(features):
    return getattr(features, "pooler_output", features)


def hf_clip():
    bundle, tokenizer = OUT / "hf-clip", clip_tokenizer()
    parts = ids(tokenizer, bundle, "<|endoftext|>", 77, whitespace)
    text = dict(vocab_size=tokenizer.get_vocab_size(), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                max_position_embeddings=77, projection_dim=24, bos_token_id=tokenizer.token_to_id("<|startoftext|>"),
                eos_token_id=tokenizer.token_to_id("<|endoftext|>"), pad_token_id=tokenizer.token_to_id("<|endoftext|>"))
    vision = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8, projection_dim=24)
    torch.manual_seed(3)
    model = shake(transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24, attn_implementation="eager")))
    preprocess = {"do_resize": True, "size": {"shortest_edge": 36}, "resample": 3, "do_center_crop": True, "crop_size": {"height": 32, "width": 32},
                  "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": MEAN, "image_std": STD}
    config = {"model_type": "clip", "text_config": {"max_position_embeddings": 77}}
    hf(bundle, model, parts, preprocess, config, ("image_embeds", "text_embeds"), ["input_ids", "attention_mask"])


def hf_siglip(name, kind, pad, specials, clean, lower):
    bundle = OUT / name
    tokenizer = unigram_tokenizer(specials, "$A </s>", lower)
    parts = ids(tokenizer, bundle, pad, 64, clean)
    text = dict(vocab_size=tokenizer.get_vocab_size(), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
                max_position_embeddings=64, projection_size=32)
    vision = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8)
    torch.manual_seed(4)
    model = shake(transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision, attn_implementation="eager")))
    preprocess = {"do_resize": True, "size": {"height": 32, "width": 32}, "resample": 3 if kind == "siglip" else 2, "do_rescale": True, "rescale_factor": 1 / 255,
                  "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    config = {"model_type": kind, "text_config": {"max_position_embeddings": 64}}
    hf(bundle, model, parts, preprocess, config, ("pooler_output", "pooler_output"), ["input_ids"])


FAMILIES = {
    "preprocess": preprocessing,
    "decode": pictures,
    "openclip": openclip,
    "laion-uint8": laion,
    "openclip-dynamo": lambda: dynamo("openclip-dynamo", 18),
    "openclip-opset23": lambda: dynamo("openclip-opset23", 23),
    "siglip-openclip": siglip_open_clip,
    "siglip-of-one": lambda: siglip_open_clip("siglip-of-one", False),
    "xlm-roberta": xlm_roberta,
    "xlm-roberta-of-one": lambda: xlm_roberta("xlm-roberta-of-one", False),
    "nllb": nllb,
    "nllb-of-one": lambda: nllb("nllb-of-one", False),
    "mobileclip": mobileclip,
    "fp16": lambda: fp16("fp16", True),
    "fp16-inside": lambda: fp16("fp16-inside", False),
    "hf-clip": hf_clip,
    "hf-siglip": lambda: hf_siglip("hf-siglip", "siglip", "</s>", ["<pad>", "</s>", "<unk>"], canonical, False),
    "hf-siglip2": lambda: hf_siglip("hf-siglip2", "siglip2", "<pad>", ["<pad>", "</s>", "<bos>", "<unk>"], lambda text: whitespace(text).lower(), False),
}

if __name__ == "__main__":
    for family in sys.argv[2:] or FAMILIES:
        FAMILIES[family]()
