//! What the errors of S3 mean, and of what speaks its protocol; Google's codes are the same.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use super::Brand;
use crate::source::bucket::fault::{Fault, pause, words};

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
    pub(super) brand: Brand,
    pub(super) bucket: &'a str,
    pub(super) endpoint: &'a str,
    pub(super) region: &'a str,
}

/// Of an answer that is no success. Answers to HEAD have no body.
pub(super) fn fault(
    status: StatusCode,
    headers: &HeaderMap,
    body: &str,
    place: &Place<'_>,
) -> Fault {
    let error: ErrorBody = quick_xml::de::from_str(body).unwrap_or_default();
    let words = words(status, &error.code, &error.message);
    let region = headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
    let region = error.region.as_deref().or(region).filter(|region| *region != place.region);
    if let Some(fault) = of_code(&error.code, &words, region, place, pause(headers)) {
        return fault;
    }
    match status.as_u16() {
        301 | 307 | 308 => wrong_region(&words, region, place),
        400 if region.is_some() => wrong_region(&words, region, place),
        _ => Fault::of_status(status, headers, words),
    }
}

/// What codes say that matters here, whatever the status.
fn of_code(
    code: &str,
    words: &str,
    region: Option<&str>,
    place: &Place<'_>,
    pause: Option<Duration>,
) -> Option<Fault> {
    let refused = |what: &str| Some(Fault::Refused(format!("{what} ({words})")));
    let Place { brand, bucket, endpoint, .. } = place;
    let [key_id, secret, or_else] = match brand {
        Brand::Amazon => {
            ["AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN", "AWS_SECRET_ACCESS_KEY", ", or the profile"]
        }
        Brand::Google => ["GS_ACCESS_KEY_ID", "GS_SECRET_ACCESS_KEY", ""],
    };
    match code {
        "NoSuchBucket" => refused(&format!(
            "there is no bucket {bucket} at {endpoint}; make it, or correct the address in images, or {}",
            brand.words().endpoint_key
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
        | "TooManyRequests" => Some(Fault::SlowDown { words: words.to_owned(), pause }),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceError;
    use crate::types::ImageName;

    const PERMISSION: &str = "s3:ListBucket";

    fn of(status: u16, body: &str) -> Fault {
        let place = Place {
            brand: Brand::Amazon,
            bucket: "photos",
            endpoint: "https://store.example",
            region: "us-east-1",
        };
        let status = StatusCode::from_u16(status).expect("a status");
        fault(status, &HeaderMap::new(), body, &place)
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
            let SourceError::Away { reason, .. } =
                fault.clone().of_source("s3://photos".into(), PERMISSION)
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
        let denied = of(403, "").of_source("s3://photos".into(), PERMISSION).to_string();
        assert!(denied.contains("s3:ListBucket"), "{denied}");
        assert_eq!(of(412, ""), Fault::Condition);
    }

    #[test]
    fn a_store_that_wants_peace_says_for_how_long() {
        let place = Place { brand: Brand::Amazon, bucket: "b", endpoint: "e", region: "r" };
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "3".parse().expect("a header"));
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let fault = fault(status, &headers, &error("SlowDown", ""), &place);
        assert!(
            matches!(fault, Fault::SlowDown { pause: Some(pause), .. } if pause.as_secs() == 3)
        );
    }
}
