//! What a model's matrix products are computed in, as a word of the configuration.

use std::fmt;
use std::str::FromStr;

/// What matrix products are computed in. The other precision gives other vectors: they must not be mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// 32-bit floats, as the model was published.
    #[default]
    F32,
    /// 8-bit integers: faster and smaller, and a little less exact. Needs a folder for prepared graphs.
    Int8,
}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "f32" => Ok(Self::F32),
            "int8" => Ok(Self::Int8),
            other => Err(UnknownPrecision(other.into())),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
        })
    }
}

/// A word that is no [`Precision`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no precision; choose f32 or int8")]
pub struct UnknownPrecision(pub String);
