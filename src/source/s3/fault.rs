//! What went wrong with a request to a bucket, told apart by what it says: something about this object, about the bucket as a
//! whole (credentials, region, name), or nothing at all because it passes. Each text says what to do.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;

use super::Store;
use crate::printable::is_harmful;
use crate::source::SourceError;
use crate::types::ImageName;

/// As much of a store's own words as is passed on.
const WORDS_CHARS_MAX: usize = 200;
/// A store that asks for a longer pause is asked again before, and then asks again.
const PAUSE_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is no such object.
    NotFound,
    /// A condition does not hold: the object is there already, or is another one than asked for.
    Condition,
    /// The range lies behind the end.
    Range,
    /// This object, or this action, is not allowed.
    Denied(String),
    /// The bucket cannot be used until somebody does something.
    Refused(String),
    /// The store wants fewer requests, perhaps after a pause of its choice.
    SlowDown {
        words: String,
        pause: Option<Duration>,
    },
    /// The store or the network has trouble.
    Passing(String),
    /// There is no room.
    Full(String),
    /// The store does not know this kind of request.
    Unsupported(String),
    Other(String),
}

/// The body of an error.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ErrorBody {
    code: String,
    message: String,
    region: Option<String>,
}

/// Where a request went, for the texts.
pub(super) struct Place<'a> {
    pub(super) store: Store,
    pub(super) bucket: &'a str,
    pub(super) endpoint: &'a str,
    pub(super) region: &'a str,
}

impl Fault {
    /// Of an answer that is no success. Answers to HEAD have no body.
    pub(super) fn of(
        status: StatusCode,
        headers: &HeaderMap,
        body: &str,
        place: &Place<'_>,
    ) -> Self {
        let error: ErrorBody = quick_xml::de::from_str(body).unwrap_or_default();
        let words = words(status, &error);
        let region = headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
        let region = error.region.as_deref().or(region).filter(|region| *region != place.region);
        if let Some(fault) = of_code(&error.code, &words, region, place) {
            return fault;
        }
        match status.as_u16() {
            301 | 307 | 308 => wrong_region(&words, region, place),
            400 if region.is_some() => wrong_region(&words, region, place),
            403 => Self::Denied(words),
            404 => Self::NotFound,
            412 => Self::Condition,
            416 => Self::Range,
            429 | 503 => Self::SlowDown { words, pause: pause(headers) },
            501 => Self::Unsupported(words),
            507 => Self::Full(words),
            // Of two who create the same object, one is told to come again.
            408 | 409 | 500..=599 => Self::Passing(words),
            _ => Self::Other(words),
        }
    }

    /// Whether trying again may help.
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::SlowDown { .. } | Self::Passing(_))
    }

    /// What it means for the whole source, when it was asked to list.
    pub(super) fn of_source(self, location: String) -> SourceError {
        let waits = if matches!(self, Self::SlowDown { .. }) { "; waiting" } else { "" };
        let reason = self
            .in_words("to list it", "s3:ListBucket on the bucket and s3:GetObject on its objects");
        SourceError::Away { location, reason: format!("{reason}{waits}") }
    }

    /// For people, after the bucket was asked for `what`, which takes the `permission`.
    pub(super) fn in_words(self, what: &str, permission: &str) -> String {
        match self {
            Self::NotFound => "there is no such bucket".to_owned(),
            Self::Denied(words) => {
                format!(
                    "the store refuses {what} ({words}); allow {permission} for these credentials"
                )
            }
            Self::SlowDown { words, .. } => format!("the store asks for fewer requests ({words})"),
            Self::Refused(words)
            | Self::Passing(words)
            | Self::Full(words)
            | Self::Unsupported(words)
            | Self::Other(words) => words,
            Self::Condition | Self::Range => "the store's answer makes no sense".to_owned(),
        }
    }

    /// What it means for one picture that is read.
    pub(super) fn of_picture(self, name: &ImageName, location: String) -> SourceError {
        let name = name.clone();
        match self {
            Self::NotFound => SourceError::NotFound(name),
            Self::Denied(reason) => SourceError::Denied { name, reason },
            Self::Refused(reason) => SourceError::Away { location, reason },
            Self::SlowDown { words, .. } => {
                let reason = format!("the store asks for fewer requests ({words})");
                SourceError::Unavailable { name, reason }
            }
            Self::Passing(reason) => SourceError::Unavailable { name, reason },
            Self::Condition => {
                SourceError::Unavailable { name, reason: "it was changed meanwhile".into() }
            }
            Self::Range => SourceError::Io { name, reason: "it has no such part".into() },
            Self::Full(reason) | Self::Unsupported(reason) | Self::Other(reason) => {
                SourceError::Io { name, reason }
            }
        }
    }

    /// The same when it is written or deleted.
    pub(super) fn of_writing(self, name: &ImageName, location: String) -> SourceError {
        match self {
            Self::Condition => SourceError::Exists(name.clone()),
            Self::Denied(reason) => SourceError::ReadOnly { name: name.clone(), reason },
            Self::Full(reason) => SourceError::Full { name: name.clone(), reason },
            other => other.of_picture(name, location),
        }
    }
}

/// What codes say that matters here, whatever the status.
fn of_code(code: &str, words: &str, region: Option<&str>, place: &Place<'_>) -> Option<Fault> {
    let refused = |what: &str| Some(Fault::Refused(format!("{what} ({words})")));
    let Place { store, bucket, endpoint, .. } = place;
    let [key_id, secret, or_else] = match store {
        Store::S3 => {
            ["AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN", "AWS_SECRET_ACCESS_KEY", ", or the profile"]
        }
        Store::Google => ["GS_ACCESS_KEY_ID", "GS_SECRET_ACCESS_KEY", ""],
    };
    match code {
        "NoSuchBucket" => refused(&format!(
            "there is no bucket {bucket} at {endpoint}; make it, or correct the address in images, or {}",
            store.endpoint_key()
        )),
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired" => {
            refused(
                "the credentials have expired; renew them in the profile, or start again with new ones in the environment",
            )
        }
        "InvalidToken" | "InvalidAccessKeyId" | "InvalidClientTokenId" | "InvalidSecurity" => {
            refused(&format!("the store does not know these credentials; check {key_id}{or_else}"))
        }
        "SignatureDoesNotMatch" => refused(&format!(
            "the secret does not belong to the access key; check {secret}{or_else}"
        )),
        "UserProjectMissing" => refused(
            "the bucket wants its readers to pay and to name a project for that, which is not possible here; let its owner pay",
        ),
        "RequestTimeTooSkewed" | "RequestInTheFuture" => {
            refused("the clocks of this machine and of the store differ; set this one right")
        }
        "AllAccessDisabled" | "AccountProblem" | "NotSignedUp" => {
            refused("the store has closed this bucket or account; ask its provider")
        }
        "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException"
        | "PermanentRedirect"
        | "TemporaryRedirect" => Some(wrong_region(words, region, place)),
        "NoSuchKey" | "NoSuchVersion" => Some(Fault::NotFound),
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "TooManyRequests" => Some(Fault::SlowDown { words: words.to_owned(), pause: None }),
        "InternalError" | "RequestTimeout" | "OperationAborted" => {
            Some(Fault::Passing(words.to_owned()))
        }
        "QuotaExceeded" | "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" => {
            Some(Fault::Full(words.to_owned()))
        }
        "NotImplemented" => Some(Fault::Unsupported(words.to_owned())),
        _ => None,
    }
}

fn wrong_region(words: &str, region: Option<&str>, place: &Place<'_>) -> Fault {
    let Place { bucket, region: ours, .. } = place;
    Fault::Refused(match region {
        Some(region) => format!(
            "the bucket {bucket} is in the region {region}, and was looked for in {ours}; set source.s3.region = \"{region}\" ({words})"
        ),
        None => format!(
            "the bucket {bucket} is not in the region {ours}; set source.s3.region to where it is ({words})"
        ),
    })
}

/// The store's own words, short and without anything that moves a cursor.
fn words(status: StatusCode, error: &ErrorBody) -> String {
    let text = match (error.code.as_str(), error.message.as_str()) {
        ("", _) => status.to_string(),
        (code, "") => format!("{} {code}", status.as_u16()),
        (code, message) => format!("{} {code}: {message}", status.as_u16()),
    };
    text.trim_end_matches('.').chars().filter(|c| !is_harmful(*c)).take(WORDS_CHARS_MAX).collect()
}

fn pause(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> Fault {
        let place = Place {
            store: Store::S3,
            bucket: "photos",
            endpoint: "https://store.example",
            region: "us-east-1",
        };
        let status = StatusCode::from_u16(status).expect("a status");
        Fault::of(status, &HeaderMap::new(), body, &place)
    }

    fn error(code: &str, more: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>Said so.</Message>{more}<RequestId>1</RequestId></Error>"
        )
    }

    #[test]
    fn what_concerns_the_bucket_says_what_to_do() {
        for (status, code, more, advice) in [
            (404, "NoSuchBucket", "", "no bucket photos at https://store.example"),
            (400, "ExpiredToken", "", "renew"),
            (403, "InvalidAccessKeyId", "", "AWS_ACCESS_KEY_ID"),
            (
                403,
                "SignatureDoesNotMatch",
                "<StringToSign>x</StringToSign>",
                "AWS_SECRET_ACCESS_KEY",
            ),
            (403, "RequestTimeTooSkewed", "", "clocks"),
            (
                400,
                "AuthorizationHeaderMalformed",
                "<Region>eu-west-1</Region>",
                "source.s3.region = \"eu-west-1\"",
            ),
            (301, "PermanentRedirect", "", "source.s3.region"),
        ] {
            let fault = of(status, &error(code, more));
            let SourceError::Away { reason, .. } = fault.clone().of_source("s3://photos".into())
            else {
                panic!("{fault:?}")
            };
            assert!(reason.contains(advice) && reason.contains(code), "{reason}");
            assert!(!fault.passes(), "{code}");
        }
    }

    #[test]
    fn what_passes_and_what_concerns_one_object_is_told_apart() {
        let name = ImageName::new("a.png").expect("valid");
        let picture = |fault: Fault| fault.of_picture(&name, "s3://photos".into());
        for (status, code) in [(503, "SlowDown"), (200, "SlowDown"), (500, "InternalError")] {
            let fault = of(status, &error(code, ""));
            assert!(fault.passes() && picture(fault).is_trouble(), "{code}");
        }
        assert!(of(502, "<html>no XML at all").passes());
        assert!(of(429, "").passes());
        assert_eq!(picture(of(404, &error("NoSuchKey", ""))), SourceError::NotFound(name.clone()));
        assert_eq!(picture(of(404, "")), SourceError::NotFound(name.clone()));
        assert!(matches!(picture(of(403, "")), SourceError::Denied { .. }));
        let denied = of(403, "").of_source("s3://photos".into()).to_string();
        assert!(denied.contains("s3:ListBucket"), "{denied}");
        assert_eq!(of(412, ""), Fault::Condition);
    }

    #[test]
    fn a_stores_words_are_short_and_harmless() {
        let long = "x".repeat(10_000);
        let body = format!("<Error><Code>Odd&#x1b;[31m</Code><Message>{long}</Message></Error>");
        let Fault::Other(words) = of(400, &body) else { panic!("another fault") };
        assert!(words.chars().count() <= WORDS_CHARS_MAX && !words.contains('\u{1b}'), "{words}");
    }

    #[test]
    fn a_store_says_how_long_to_wait() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "3".parse().expect("a header"));
        assert_eq!(pause(&headers), Some(Duration::from_secs(3)));
        headers.insert(RETRY_AFTER, "86400".parse().expect("a header"));
        assert_eq!(pause(&headers), Some(PAUSE_MAX));
    }
}
