//! The files of a model bundle, and what its JSON files say about pictures and texts.
//!
//! Two layouts: `visual/` + `textual/` (open_clip's configuration files) and `onnx/` (transformers' configuration files).
//! Nothing outside this file knows which of the two a model came in.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::LoadError;
use crate::preprocess::{CropRounding, Filter, Recipe, ResizeMode};
use crate::tokenize::{CleanUp, Places, TokenizerSettings};

/// Kinds of models, as far as they can be told from the bundle. What follows from a kind is settled when the bundle is
/// read, and stands in the bundle's settings; afterwards the kind is only shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// OpenAI CLIP, LAION and other models of that architecture.
    Clip,
    /// SigLIP and SigLIP 2.
    SigLip,
    /// A text tower of XLM-R, NLLB or another multilingual model.
    Multilingual,
    /// MobileCLIP.
    MobileClip,
}

impl Family {
    /// Which places of a text count, when the configuration says nothing about it.
    fn places(self) -> Places {
        match self {
            Self::Clip => Places::UpToEnd,
            Self::Multilingual => Places::Unmasked,
            Self::SigLip => Places::All,
            Self::MobileClip => Places::AllWithZerosBehindEnd,
        }
    }

    /// The lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clip => "clip",
            Self::SigLip => "siglip",
            Self::Multilingual => "multilingual",
            Self::MobileClip => "mobileclip",
        }
    }
}

/// Everything the bundle's files say, graphs excepted.
pub(crate) struct Bundle {
    pub(crate) vision_graph: PathBuf,
    pub(crate) text_graph: PathBuf,
    pub(crate) preprocess_file: PathBuf,
    pub(crate) recipe: Recipe,
    pub(crate) tokenizer: TokenizerSettings,
    pub(crate) family: Family,
}

impl Bundle {
    /// Finds the layout and reads the configuration.
    pub(crate) fn read(dir: &Path) -> Result<Self, LoadError> {
        if dir.join("visual/model.onnx").is_file() || dir.join("textual/model.onnx").is_file() {
            return Self::read_open_clip(dir);
        }
        if dir.join("onnx/vision_model.onnx").is_file()
            || dir.join("onnx/text_model.onnx").is_file()
        {
            return Self::read_transformers(dir);
        }
        Err(LoadError::NoBundle { dir: dir.to_owned() })
    }

    fn read_open_clip(dir: &Path) -> Result<Self, LoadError> {
        let config = json(&dir.join("config.json"))?;
        let preprocess_file = dir.join("visual/preprocess_cfg.json");
        let preprocess = json(&preprocess_file)?;
        let recipe =
            open_clip_recipe(&preprocess).map_err(|reason| invalid(&preprocess_file, reason))?;
        // some exports keep the whole open_clip file, which nests the model's part
        let model = config.get("model_cfg").unwrap_or(&config);
        let text = &model["text_cfg"];
        let clean_up = match text["tokenizer_kwargs"]["clean"].as_str() {
            Some("canonicalize") => CleanUp::Canonicalize,
            Some("lower") => CleanUp::Lower,
            _ => CleanUp::Whitespace,
        };
        let vision = model["vision_cfg"]["timm_model_name"].as_str().unwrap_or_default();
        let hf_text = text["hf_tokenizer_name"]
            .as_str()
            .or(text["hf_model_name"].as_str())
            .unwrap_or_default();
        let hf_text = hf_text.to_ascii_lowercase();
        let family = if vision.contains("mobileclip")
            || vision.contains("fastvit")
            || vision.contains("mobileone")
        {
            Family::MobileClip
        } else if hf_text.contains("siglip") || model.get("init_logit_bias").is_some() {
            Family::SigLip
        } else if ["xlm", "nllb", "roberta", "bert", "mt5"]
            .iter()
            .any(|name| hf_text.contains(name))
        {
            Family::Multilingual
        } else {
            Family::Clip
        };
        let textual = dir.join("textual");
        let tokenizer_config = tokenizer_config(&textual)?;
        let tokenizer = TokenizerSettings {
            file: textual.join("tokenizer.json"),
            context_length: usize_at(&text["context_length"]).unwrap_or(77),
            clean_up,
            pad_token: pad_token(&tokenizer_config),
            pad_id: None,
            pad_left: tokenizer_config["padding_side"] == "left",
            places: match family.places() {
                Places::UpToEnd if text["no_causal_mask"] == true => Places::All,
                places => places,
            },
        };
        let (vision_graph, text_graph) =
            (dir.join("visual/model.onnx"), dir.join("textual/model.onnx"));
        Ok(Self { vision_graph, text_graph, preprocess_file, recipe, tokenizer, family })
    }

    fn read_transformers(dir: &Path) -> Result<Self, LoadError> {
        let config = json(&dir.join("config.json"))?;
        let preprocess_file = dir.join("preprocessor_config.json");
        let preprocess = json(&preprocess_file)?;
        let recipe =
            transformers_recipe(&preprocess).map_err(|reason| invalid(&preprocess_file, reason))?;
        let tokenizer_config = tokenizer_config(dir)?;
        let kind = config["model_type"].as_str().unwrap_or_default();
        let positions = usize_at(&config["text_config"]["max_position_embeddings"]);
        // transformers writes a giant number where there is no limit
        let limit =
            usize_at(&tokenizer_config["model_max_length"]).filter(|&length| length < 1 << 20);
        let default = if kind.starts_with("siglip") { 64 } else { 77 };
        let context_length = match (positions, limit) {
            (Some(positions), Some(limit)) => positions.min(limit),
            (one, other) => one.or(other).unwrap_or(default),
        };
        let (clean_up, family) = match kind {
            "siglip" => (CleanUp::Canonicalize, Family::SigLip),
            "siglip2" => (CleanUp::Lower, Family::SigLip),
            "clip" | "chinese_clip" | "" => (CleanUp::Whitespace, Family::Clip),
            _ => (CleanUp::Whitespace, Family::Multilingual),
        };
        let tokenizer = TokenizerSettings {
            file: dir.join("tokenizer.json"),
            context_length,
            clean_up,
            pad_token: pad_token(&tokenizer_config),
            pad_id: config["text_config"]["pad_token_id"]
                .as_u64()
                .and_then(|id| u32::try_from(id).ok()),
            pad_left: tokenizer_config["padding_side"] == "left",
            places: family.places(),
        };
        let (vision_graph, text_graph) =
            (dir.join("onnx/vision_model.onnx"), dir.join("onnx/text_model.onnx"));
        Ok(Self { vision_graph, text_graph, preprocess_file, recipe, tokenizer, family })
    }
}

fn invalid(path: &Path, reason: impl Into<String>) -> LoadError {
    LoadError::Invalid { path: path.to_owned(), reason: reason.into() }
}

fn json(path: &Path) -> Result<Value, LoadError> {
    let bytes = std::fs::read(path).map_err(|error| LoadError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| invalid(path, format!("it is not JSON: {error}")))
}

/// `tokenizer_config.json`; `special_tokens_map.json` knows the padding token where that file does not say it.
fn tokenizer_config(dir: &Path) -> Result<Value, LoadError> {
    let path = dir.join("tokenizer_config.json");
    let mut config =
        if path.is_file() { json(&path)? } else { Value::Object(serde_json::Map::default()) };
    let path = dir.join("special_tokens_map.json");
    if config["pad_token"].is_null() && config.is_object() && path.is_file() {
        config["pad_token"] = json(&path)?["pad_token"].take();
    }
    Ok(config)
}

/// A token is written as a string, or as an object with its `content`.
fn pad_token(config: &Value) -> Option<String> {
    let token = &config["pad_token"];
    token.as_str().or(token["content"].as_str()).map(str::to_owned)
}

fn usize_at(value: &Value) -> Option<usize> {
    // model_max_length may be a float such as 1e30
    let length = value.as_u64().or_else(|| value.as_f64().map(|length| length as u64))?;
    usize::try_from(length).ok().filter(|&length| length > 0)
}

/// Beyond this no vision model goes; a wrong file must not become a giant allocation.
const MAX_EDGE: u64 = 4096;

fn edge(value: &Value) -> Option<u32> {
    value
        .as_u64()
        .filter(|edge| (1..=MAX_EDGE).contains(edge))
        .and_then(|edge| u32::try_from(edge).ok())
}

fn triple(value: &Value, default: f32) -> Result<[f32; 3], String> {
    let bad = || format!("{value} is not three numbers");
    match value {
        Value::Null => Ok([default; 3]),
        Value::Number(one) => Ok([one.as_f64().ok_or_else(bad)? as f32; 3]),
        _ => {
            let list = value.as_array().filter(|list| list.len() == 3).ok_or_else(bad)?;
            let mut out = [default; 3];
            for (slot, number) in out.iter_mut().zip(list) {
                *slot = number.as_f64().ok_or_else(bad)? as f32;
            }
            Ok(out)
        }
    }
}

fn checked(recipe: Recipe) -> Result<Recipe, String> {
    if recipe.std.iter().any(|&std| std <= 0.0 || !std.is_finite()) {
        return Err("the standard deviation must be above zero".into());
    }
    Ok(recipe)
}

pub(crate) fn open_clip_recipe(config: &Value) -> Result<Recipe, String> {
    let size = &config["size"];
    let (height, width) = match edge(size) {
        Some(edge) => (Some(edge), Some(edge)),
        None => (edge(&size[0]), edge(&size[1])),
    };
    let (Some(height), Some(width)) = (height, width) else {
        return Err(format!(
            "\"size\" is {size}, expected an edge or [height, width] of 1 to {MAX_EDGE}"
        ));
    };
    let mode = match config["resize_mode"].as_str() {
        None | Some("shortest") if width == height => ResizeMode::Shortest { edge: width },
        None | Some("shortest") => ResizeMode::Cover,
        Some("squash") => ResizeMode::Squash,
        Some("longest") => {
            ResizeMode::Longest { fill: config["fill_color"].as_u64().unwrap_or(0).min(255) as u8 }
        }
        Some(other) => {
            return Err(format!(
                "\"resize_mode\" is {other:?}, expected shortest, squash or longest"
            ));
        }
    };
    let filter = match config["interpolation"].as_str() {
        // open_clip draws lots between both for "random" while training and takes bicubic otherwise
        None | Some("bicubic" | "random") => Filter::Bicubic,
        Some("bilinear") => Filter::Bilinear,
        Some(other) => {
            return Err(format!("\"interpolation\" is {other:?}, expected bicubic or bilinear"));
        }
    };
    let (mean, std) = (triple(&config["mean"], 0.0)?, triple(&config["std"], 1.0)?);
    checked(Recipe {
        width,
        height,
        mode,
        filter,
        crop_rounding: CropRounding::HalfToEven,
        rescale: 1.0 / 255.0,
        mean,
        std,
    })
}

pub(crate) fn transformers_recipe(config: &Value) -> Result<Recipe, String> {
    let flag = |name: &str, default: bool| config[name].as_bool().unwrap_or(default);
    let (size, crop) = (&config["size"], &config["crop_size"]);
    let square = |value: &Value| {
        edge(value)
            .map(|edge| (edge, edge))
            .or_else(|| Some((edge(&value["height"])?, edge(&value["width"])?)))
    };
    let shortest = edge(&size["shortest_edge"]);
    // old files write a bare number, which CLIP's processor reads as the shortest edge
    let shortest = shortest.or_else(|| edge(size).filter(|_| flag("do_center_crop", false)));
    let crops = flag("do_center_crop", !crop.is_null());
    let target = if crops { square(crop) } else { square(size) };
    let Some((height, width)) = target.or_else(|| shortest.map(|edge| (edge, edge))) else {
        return Err(format!(
            "neither \"size\" ({size}) nor \"crop_size\" ({crop}) says the size of a picture (1 to {MAX_EDGE})"
        ));
    };
    let mode = match (flag("do_resize", true), shortest) {
        (false, _) => ResizeMode::Keep,
        (true, Some(edge)) => ResizeMode::Shortest { edge },
        (true, None) => ResizeMode::Squash,
    };
    let filter = match config["resample"].as_u64() {
        Some(0) => Filter::Nearest,
        Some(1) => Filter::Lanczos,
        Some(2) => Filter::Bilinear,
        None | Some(3) => Filter::Bicubic,
        Some(other) => return Err(format!("\"resample\" is {other}, expected 0 to 3")),
    };
    let rescale = if flag("do_rescale", true) {
        config["rescale_factor"].as_f64().unwrap_or(1.0 / 255.0) as f32
    } else {
        1.0
    };
    let normalises = flag("do_normalize", true);
    let mean = if normalises { triple(&config["image_mean"], 0.0)? } else { [0.0; 3] };
    let std = if normalises { triple(&config["image_std"], 1.0)? } else { [1.0; 3] };
    checked(Recipe {
        width,
        height,
        mode,
        filter,
        crop_rounding: CropRounding::Down,
        rescale,
        mean,
        std,
    })
}
