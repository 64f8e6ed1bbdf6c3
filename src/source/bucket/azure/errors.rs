//! What the errors of Azure Blob Storage mean.

use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use crate::source::bucket::fault::{Fault, pause, words};

/// The body of an error. What was signed, and with what, stands in parts that are not read.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ErrorBody {
    code: String,
    message: String,
    authentication_error_detail: String,
}

/// Where a request went and in whose name, for the texts.
pub(super) struct Place<'a> {
    pub(super) container: &'a str,
    pub(super) endpoint: &'a str,
    pub(super) signed: SignedBy,
}

/// What a request was signed with.
#[derive(Debug, Clone, Copy)]
pub(super) enum SignedBy {
    Nobody,
    Key,
    /// When the token ended, if it did.
    Sas {
        ended: Option<Timestamp>,
    },
    Identity,
}

impl SignedBy {
    /// What to look at when the store does not believe it.
    fn advice(self) -> &'static str {
        match self {
            Self::Nobody => {
                "the store wants credentials (source.azure.anonymous is for public containers); set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN"
            }
            Self::Key => {
                "the store does not take the key of the account; check AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY, or AZURE_STORAGE_CONNECTION_STRING"
            }
            Self::Sas { .. } => {
                "the store does not take the SAS token; check that it is for this account and container, in AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_CONNECTION_STRING"
            }
            Self::Identity => {
                "the store does not take the identity of this machine; give it the role Storage Blob Data Reader, or set AZURE_STORAGE_KEY"
            }
        }
    }
}

/// Of an answer that is no success. Those to HEAD have no body, but a header with the code.
pub(super) fn fault(
    status: StatusCode,
    headers: &HeaderMap,
    body: &str,
    place: &Place<'_>,
) -> Fault {
    let body = body.trim_start_matches('\u{FEFF}');
    let mut error: ErrorBody = quick_xml::de::from_str(body).unwrap_or_default();
    if error.code.is_empty() {
        let code = headers.get("x-ms-error-code").and_then(|value| value.to_str().ok());
        code.unwrap_or_default().clone_into(&mut error.code);
    }
    let words = words(status, &error.code, &error.message);
    let refused = |what: &str| Fault::Refused(format!("{what} ({words})"));
    if matches!(status.as_u16(), 401 | 403)
        && let Some(what) = of_credentials(&error, place.signed)
    {
        return refused(&what);
    }
    let Place { container, endpoint, signed } = place;
    match error.code.as_str() {
        "ContainerNotFound"
        | "ContainerDisabled"
        | "ContainerBeingDeleted"
        | "InvalidResourceName" => refused(&format!(
            "there is no container {container} at {endpoint}; make it, or correct the address in images, or source.azure.endpoint"
        )),
        "AccountIsDisabled" => {
            refused("the account is disabled; look for the reason in Azure's portal")
        }
        "KeyBasedAuthenticationNotPermitted" => refused(
            "the account allows no keys; set AZURE_STORAGE_SAS_TOKEN to a token of a user, or give this machine an identity",
        ),
        "PublicAccessNotPermitted" | "InvalidAuthenticationInfo" => refused(signed.advice()),
        "BlobNotFound" | "ResourceNotFound" | "PathNotFound" => Fault::NotFound,
        "BlobAlreadyExists" | "ConditionNotMet" | "TargetConditionNotMet" | "PathAlreadyExists" => {
            Fault::Condition
        }
        "ServerBusy" | "TooManyRequests" => Fault::SlowDown { words, pause: pause(headers) },
        // What lies on tape, is leased to another program, or may not change for a while.
        "BlobArchived"
        | "BlobBeingRehydrated"
        | "LeaseIdMissing"
        | "LeaseIdMismatchWithBlobOperation"
        | "BlobImmutableDueToPolicy"
        | "BlobImmutableDueToLegalHold"
        | "InvalidBlobType"
        | "ResourceTypeMismatch" => Fault::Denied(words),
        "InsufficientStorage" | "AccountQuotaExceeded" => Fault::Full(words),
        _ if status == StatusCode::UNAUTHORIZED => refused(signed.advice()),
        _ => Fault::of_status(status, headers, words),
    }
}

/// What is wrong with the credentials as a whole, if it is that.
fn of_credentials(error: &ErrorBody, signed: SignedBy) -> Option<String> {
    if let SignedBy::Sas { ended: Some(ended) } = signed {
        return Some(format!(
            "the SAS token has expired on {ended}; put a new one into AZURE_STORAGE_SAS_TOKEN, and start again"
        ));
    }
    // Azurite says the one by the code of the other.
    let is_unbelieved = error.code == "AuthenticationFailed"
        || error.message.starts_with("Server failed to authenticate the request");
    if !is_unbelieved {
        return None;
    }
    let says = |text: &str| {
        error.authentication_error_detail.contains(text) || error.message.contains(text)
    };
    let is_sas = matches!(signed, SignedBy::Sas { .. });
    Some(match () {
        () if is_sas && says("time frame") => {
            "the SAS token does not count now; it has expired or not begun yet, or the clocks differ: put a new one into AZURE_STORAGE_SAS_TOKEN, and start again".to_owned()
        }
        () if says("Date header") || says("date header") => {
            "the clocks of this machine and of the store differ; set this one right".to_owned()
        }
        () => signed.advice().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceError;
    use crate::types::ImageName;

    fn of(status: u16, code: &str, more: &str, signed: SignedBy) -> Fault {
        let place = Place { container: "photos", endpoint: "https://a.example", signed };
        let status = StatusCode::from_u16(status).expect("a status");
        let body = format!(
            "\u{FEFF}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>Said so.\nRequestId:1\nTime:2</Message>{more}</Error>"
        );
        fault(status, &HeaderMap::new(), &body, &place)
    }

    #[test]
    fn what_concerns_the_container_says_what_to_do() {
        let ended = Some("2020-01-01T00:00:00Z".parse().expect("a time"));
        let frame = "<AuthenticationErrorDetail>Signature not valid in the specified time frame: Start [a]</AuthenticationErrorDetail>";
        let date = "<AuthenticationErrorDetail>The Date header in the request is incorrect: 'hunter2'</AuthenticationErrorDetail>";
        let mac = "<AuthenticationErrorDetail>The MAC signature 'hunter2' is not the same</AuthenticationErrorDetail>";
        let sas = SignedBy::Sas { ended: None };
        for (status, code, more, signed, advice) in [
            (
                404,
                "ContainerNotFound",
                "",
                SignedBy::Key,
                "no container photos at https://a.example",
            ),
            (403, "AuthenticationFailed", mac, SignedBy::Key, "AZURE_STORAGE_KEY"),
            (403, "AuthenticationFailed", mac, sas, "AZURE_STORAGE_SAS_TOKEN"),
            (403, "AuthenticationFailed", mac, SignedBy::Identity, "Storage Blob Data Reader"),
            (403, "AuthenticationFailed", frame, sas, "has expired or not begun"),
            (403, "AuthorizationFailure", "", SignedBy::Sas { ended }, "expired on 2020-01-01"),
            (403, "AuthenticationFailed", date, SignedBy::Key, "clocks"),
            (401, "NoAuthenticationInformation", "", SignedBy::Nobody, "source.azure.anonymous"),
            (409, "PublicAccessNotPermitted", "", SignedBy::Nobody, "source.azure.anonymous"),
            (403, "KeyBasedAuthenticationNotPermitted", "", SignedBy::Key, "an identity"),
        ] {
            let fault = of(status, code, more, signed);
            let away = fault.clone().of_source("az://photos".into(), "List and Read");
            let SourceError::Away { reason, .. } = away else { panic!("{fault:?}") };
            assert!(matches!(fault, Fault::Refused(_)), "{code}: {fault:?}");
            assert!(reason.contains(advice) && reason.contains(code), "{reason}");
            assert!(!reason.contains("hunter2") && !reason.contains("RequestId"), "{reason}");
        }
    }

    #[test]
    fn what_passes_and_what_concerns_one_blob_is_told_apart() {
        let name = ImageName::new("a.png").expect("valid");
        let key = |status: u16, code: &str| of(status, code, "", SignedBy::Key);
        let picture = |fault: Fault| fault.of_picture(&name, "az://photos".into());
        for (status, code) in
            [(503, "ServerBusy"), (500, "OperationTimedOut"), (500, "InternalError"), (429, "")]
        {
            assert!(key(status, code).passes() && picture(key(status, code)).is_trouble());
        }
        for (status, code) in [(404, "BlobNotFound"), (404, "")] {
            assert_eq!(picture(key(status, code)), SourceError::NotFound(name.clone()));
        }
        for code in ["AuthorizationPermissionMismatch", "AuthorizationFailure"] {
            let denied = key(403, code);
            assert!(matches!(picture(denied.clone()), SourceError::Denied { .. }));
            let denied = denied.of_source("az://photos".into(), "List and Read").to_string();
            assert!(denied.contains("allow List and Read"), "{denied}");
        }
        assert!(matches!(picture(key(409, "BlobArchived")), SourceError::Denied { .. }));
        assert_eq!(key(409, "BlobAlreadyExists"), Fault::Condition);
        assert_eq!(key(412, "ConditionNotMet"), Fault::Condition);
        assert_eq!(key(416, "InvalidRange"), Fault::Range);
    }

    #[test]
    fn the_code_stands_in_a_header_where_there_is_no_body_and_a_pause_too() {
        let place =
            Place { container: "photos", endpoint: "https://a.example", signed: SignedBy::Key };
        let mut headers = HeaderMap::new();
        headers.insert("x-ms-error-code", "ContainerNotFound".parse().expect("a header"));
        let away = fault(StatusCode::NOT_FOUND, &headers, "", &place);
        assert!(matches!(away, Fault::Refused(_)), "{away:?}");
        headers.insert("x-ms-error-code", "ServerBusy".parse().expect("a header"));
        headers.insert("retry-after", "2".parse().expect("a header"));
        let slow = fault(StatusCode::SERVICE_UNAVAILABLE, &headers, "", &place);
        assert!(matches!(slow, Fault::SlowDown { pause: Some(pause), .. } if pause.as_secs() == 2));
    }
}
