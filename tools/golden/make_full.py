"""Writes bundles with the real architecture of published models and random weights: same operators, same sizes, no meaning.

They prove that the tiny models of make_golden.py have every operator that the full ones have. Usage: make_full.py OUT_DIR NAME,
or make_full.py --operators DIR… to list the operators of bundles. Needs up to 12 GB of memory and 4 GB of disk for one."""

import json
import sys
from collections import Counter
from pathlib import Path

import onnx
import open_clip
import torch
import transformers
from open_clip.transform import PreprocessCfg, image_transform_v2

XLM_R = transformers.XLMRobertaConfig(vocab_size=250002, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
                                      max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1)
NLLB = transformers.M2M100Config(vocab_size=256206, d_model=1024, encoder_layers=12, decoder_layers=1, encoder_attention_heads=16,
                                 decoder_attention_heads=16, encoder_ffn_dim=4096, decoder_ffn_dim=16, max_position_embeddings=1024,
                                 activation_function="relu", scale_embedding=True, pad_token_id=1, bos_token_id=0, eos_token_id=2)
HF_TEXT = {"xlm-roberta-base": XLM_R, "facebook/nllb-200-distilled-600M": NLLB}
# the tiny tokenizer that goes with each: its ids are low, which changes no operator
TOKENIZERS = {"nllb": "nllb", "xlm": "xlm-roberta", "SigLIP": "siglip-openclip", "MobileCLIP": "mobileclip"}
OPSET = 19


def full(out, name):
    from make_golden import canonical, dump, finish, whitespace
    from tokenizers import Tokenizer

    transformers.AutoConfig.from_pretrained = lambda name, **_: HF_TEXT[name]
    torch.manual_seed(0)
    torch.backends.mha.set_fastpath_enabled(False)
    model = open_clip.create_model(name, pretrained=None, pretrained_hf=False).eval().requires_grad_(False)
    config = open_clip.get_model_config(name)
    preprocess = open_clip.get_model_preprocess_cfg(model)
    bundle, size = out / name, config["vision_cfg"]["image_size"]
    length = config["text_cfg"].get("context_length", 77)
    dump(bundle / "config.json", config)
    dump(bundle / "visual/preprocess_cfg.json", preprocess)
    golden = Path(__file__).parent / "../../crates/clip/tests/golden" / next((dir for key, dir in TOKENIZERS.items() if key in name), "openclip") / "textual"
    (bundle / "textual").mkdir(parents=True, exist_ok=True)
    for file in ["tokenizer.json", "tokenizer_config.json"]:
        (bundle / "textual" / file).write_text((golden / file).read_text())
    pad = json.loads((golden / "tokenizer_config.json").read_text())["pad_token"]
    tokenizer = Tokenizer.from_file(str(golden / "tokenizer.json"))
    tokenizer.enable_padding(length=length, pad_token=pad, pad_id=tokenizer.token_to_id(pad))
    tokenizer.enable_truncation(max_length=length)
    clean = canonical if config["text_cfg"].get("tokenizer_kwargs", {}).get("clean") == "canonicalize" else whitespace
    from make_golden import TEXTS
    tokens = torch.tensor([tokenizer.encode(clean(text)).ids for text in TEXTS], dtype=torch.int32)
    shown = zeros_behind_end(tokens, tokenizer.token_to_id(pad)) if config["text_cfg"].get("no_causal_mask") and "Mobile" in name else tokens
    texts = torch.cat([model.encode_text(row[None]) for row in shown])
    finish(bundle, tokens, texts, model.encode_image, image_transform_v2(PreprocessCfg(**preprocess), is_train=False))
    write(model, "encode_image", torch.randn(1, 3, size, size), bundle / "visual/model.onnx", "image")
    write(model, "encode_text", tokens[:1], bundle / "textual/model.onnx", "text")


def zeros_behind_end(tokens, end):
    return tokens.masked_fill(((tokens == end).int().cumsum(1) - (tokens == end).int()) > 0, 0)


def write(model, method, example, path, name):
    """A fixed batch of one and 32-bit ids, as the bundles on the hub are exported."""
    model.forward = lambda value: getattr(model, method)(value, normalize=True)
    torch.onnx.export(model, (example,), str(path), input_names=[name], output_names=["embedding"], opset_version=OPSET, dynamo=False)


def operators(path):
    graph = onnx.load(path, load_external_data=False)
    return {entry.domain or "ai.onnx": entry.version for entry in graph.opset_import}["ai.onnx"], Counter(node.op_type for node in graph.graph.node)


def listing(bundles):
    for bundle in map(Path, bundles):
        for path in sorted(bundle.glob("*/*.onnx")):
            opset, counts = operators(path)
            print(json.dumps({"graph": f"{bundle.name}/{path.parent.name}/{path.name}", "bytes": path.stat().st_size, "opset": opset, "operators": sorted(counts)}))


if __name__ == "__main__":
    if sys.argv[1] == "--operators":
        listing(sys.argv[2:])
    else:
        full(Path(sys.argv[1]), sys.argv[2])
