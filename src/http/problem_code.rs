//! The codes of problem documents: stable words for programs. Each has its one HTTP status, and the API document lists them all,
//! so that generated clients know them.

use axum::http::StatusCode;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as NoSuchWord, StrDeserializer};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::decoder::DecodeFailure;

/// Tells problems apart, for programs. Codes are never renamed; later versions may add some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ProblemCode {
    MalformedJson,
    MalformedForm,
    MalformedPath,
    UnreadableBody,
    TokenInvalid,
    TokenExpired,
    ApiKeyNeeded,
    ScopeNeeded,
    CrossSiteRequest,
    NotOnThisMachine,
    NotFound,
    UploadsDisabled,
    NoFileManager,
    MethodNotAllowed,
    ImageExists,
    TooLarge,
    UnsupportedMediaType,
    RangeNotSatisfiable,
    MisdirectedRequest,
    TooManyRequests,
    InvalidRequest,
    BadImageName,
    EmptyFile,
    NotAnImage,
    TooManyBytes,
    TooManyPixels,
    TooMuchMemory,
    DecodeTimeout,
    TruncatedImage,
    CorruptImage,
    Internal,
    ModelNotReady,
    Overloaded,
    DeadlineExceeded,
    StoreUnavailable,
    CatalogUnavailable,
    StorageReadOnly,
    ImageChanged,
    ImageUnreadable,
    SourceAway,
    StorageFull,
    FileManagerFailed,
}

impl ProblemCode {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::MalformedJson
            | Self::MalformedForm
            | Self::MalformedPath
            | Self::UnreadableBody => StatusCode::BAD_REQUEST,
            Self::TokenInvalid | Self::TokenExpired | Self::ApiKeyNeeded => {
                StatusCode::UNAUTHORIZED
            }
            Self::CrossSiteRequest | Self::ScopeNeeded | Self::NotOnThisMachine => {
                StatusCode::FORBIDDEN
            }
            Self::NotFound | Self::UploadsDisabled | Self::NoFileManager => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::ImageExists => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RangeNotSatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::MisdirectedRequest => StatusCode::MISDIRECTED_REQUEST,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::InvalidRequest
            | Self::BadImageName
            | Self::EmptyFile
            | Self::NotAnImage
            | Self::TooManyBytes
            | Self::TooManyPixels
            | Self::TooMuchMemory
            | Self::DecodeTimeout
            | Self::TruncatedImage
            | Self::CorruptImage => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ModelNotReady
            | Self::Overloaded
            | Self::DeadlineExceeded
            | Self::StoreUnavailable
            | Self::CatalogUnavailable
            | Self::StorageReadOnly
            | Self::ImageChanged
            | Self::ImageUnreadable
            | Self::SourceAway
            | Self::FileManagerFailed => StatusCode::SERVICE_UNAVAILABLE,
            Self::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        }
    }

    /// What a picture that is not decoded is answered with.
    pub(super) fn of_picture(failure: &DecodeFailure) -> Self {
        Self::from_word(failure.code()).unwrap_or(Self::CorruptImage)
    }

    fn from_word(word: &str) -> Option<Self> {
        let word: StrDeserializer<'_, NoSuchWord> = word.into_deserializer();
        Self::deserialize(word).ok()
    }
}

#[cfg(test)]
mod tests {
    use clip::{DecodeError, PictureFormat};

    use super::*;

    #[test]
    fn every_fault_of_a_picture_has_a_code_of_its_own() {
        let (format, reason) = (PictureFormat::Png, String::new());
        let faults = [
            DecodeError::Empty,
            DecodeError::TooManyBytes { bytes: 2, limit: 1 },
            DecodeError::UnknownFormat,
            DecodeError::TooManyPixels { width: 2, height: 2, limit: 1 },
            DecodeError::TooMuchMemory { limit: 1 },
            DecodeError::TimedOut { timeout_ms: 1 },
            DecodeError::Truncated { format, reason: reason.clone() },
            DecodeError::Malformed { format, reason },
        ];
        for fault in faults.map(DecodeFailure::from).into_iter().chain([DecodeFailure::Stuck(1)]) {
            let code = ProblemCode::from_word(fault.code()).expect("a known code");
            assert_eq!(code.status(), StatusCode::UNPROCESSABLE_ENTITY, "{code:?}");
        }
        assert_eq!(ProblemCode::from_word("of_tomorrow"), None);
    }
}
