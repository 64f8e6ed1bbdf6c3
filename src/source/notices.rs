//! What stores tell when objects come, change and go: the event messages of Amazon S3, which others send too, MinIO's webhook
//! form of them, and Amazon EventBridge's. Only names are taken from them; what is there now is looked up.

use serde::Deserialize;

/// An object that came, changed or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub bucket: String,
    pub key: String,
}

/// A message of none of the known forms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no message of a store: it has neither Records (Amazon S3, MinIO) nor a detail (Amazon EventBridge) with the names of a bucket and an object"
)]
pub struct UnknownForm;

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "Records")]
    records: Option<Vec<Record>>,
    detail: Option<Part>,
    /// `s3:TestEvent`, which comes once when messages are switched on.
    #[serde(rename = "Event")]
    event: Option<String>,
}

#[derive(Deserialize)]
struct Record {
    s3: Option<Part>,
}

#[derive(Deserialize)]
struct Part {
    bucket: Named,
    object: Keyed,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Keyed {
    key: String,
}

/// The objects that a message is about; none, if it is about something else.
pub fn parse(body: &[u8]) -> Result<Vec<Notice>, UnknownForm> {
    let message: Message = serde_json::from_slice(body).map_err(|_| UnknownForm)?;
    if let Some(records) = message.records {
        let parts = records.into_iter().filter_map(|record| record.s3);
        let notice =
            |part: Part| Notice { bucket: part.bucket.name, key: form_decoded(&part.object.key) };
        return Ok(parts.map(notice).collect());
    }
    if let Some(Part { bucket, object }) = message.detail {
        return Ok(vec![Notice { bucket: bucket.name, key: object.key }]);
    }
    message.event.map(|_| Vec::new()).ok_or(UnknownForm)
}

/// Keys in records are written as in a form.
fn form_decoded(key: &str) -> String {
    let spaced = key.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(bucket: &str, key: &str) -> Notice {
        Notice { bucket: bucket.into(), key: key.into() }
    }

    #[test]
    fn messages_of_each_form_name_their_objects() {
        let amazon = br#"{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"us-west-2","eventName":"ObjectCreated:Put",
            "s3":{"s3SchemaVersion":"1.0","configurationId":"c","bucket":{"name":"photos","arn":"arn:aws:s3:::photos"},
            "object":{"key":"red+flower/Gr%C3%B6%C3%9Fe+%2B.jpg","size":1024,"eTag":"d4","sequencer":"00"}}},
            {"eventName":"ObjectRemoved:Delete","s3":{"bucket":{"name":"photos"},"object":{"key":"b"}}},{"eventName":"Other"}]}"#;
        let expected = [notice("photos", "red flower/Größe +.jpg"), notice("photos", "b")];
        assert_eq!(parse(amazon).as_deref(), Ok(&expected[..]));
        let minio = br#"{"EventName":"s3:ObjectCreated:Put","Key":"photos/a b.png","Records":[{"eventSource":"minio:s3",
            "s3":{"bucket":{"name":"photos","ownerIdentity":{"principalId":"x"}},"object":{"key":"a%20b.png"}}}]}"#;
        assert_eq!(parse(minio), Ok(vec![notice("photos", "a b.png")]));
        let bridge = br#"{"version":"0","detail-type":"Object Created","source":"aws.s3","detail":{"bucket":{"name":"photos"},"object":{"key":"a+b.png"}}}"#;
        assert_eq!(parse(bridge), Ok(vec![notice("photos", "a+b.png")]));
        let test = br#"{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"photos"}"#;
        assert_eq!(parse(test), Ok(Vec::new()));
    }

    #[test]
    fn everything_else_is_refused() {
        for body in [
            "",
            "[]",
            "{}",
            "null",
            "{\"Records\":3}",
            "{\"detail\":{}}",
            "{\"Records\":[{\"s3\":{}}]}",
        ] {
            assert_eq!(parse(body.as_bytes()), Err(UnknownForm), "{body}");
        }
    }
}
