//! Signatures of Amazon's kind (Signature Version 4, for S3) and of Google's, which differ in their words alone: of a request in
//! its headers, and of an address that anyone may read at for a while. Checked against the examples that Amazon publishes, and
//! for Google against what another program signs.

use std::fmt::{self, Write};

use jiff::Timestamp;
use ring::hmac;
use sha2::{Digest, Sha256};

use crate::source::bucket::request::canonical_query;
use crate::types::hex;

/// The words of one kind of store.
pub(super) struct Dialect {
    algorithm: &'static str,
    /// In front of the secret.
    secret_prefix: &'static str,
    service: &'static str,
    /// At the end of what a key is good for.
    ending: &'static str,
    /// Of headers that are the store's own, which must not be mixed with another's.
    headers: Headers,
    /// In front of each part of an address that is signed.
    query_prefix: &'static str,
}

struct Headers {
    body_hash: &'static str,
    time: &'static str,
    token: &'static str,
}

pub(super) static AMAZON: Dialect = Dialect {
    algorithm: "AWS4-HMAC-SHA256",
    secret_prefix: "AWS4",
    service: "s3",
    ending: "aws4_request",
    headers: Headers {
        body_hash: "x-amz-content-sha256",
        time: "x-amz-date",
        token: "x-amz-security-token",
    },
    query_prefix: "X-Amz-",
};

/// For keys of the kind HMAC, as Google's documentation of its XML interface has it.
pub(super) static GOOGLE: Dialect = Dialect {
    algorithm: "GOOG4-HMAC-SHA256",
    secret_prefix: "GOOG4",
    service: "storage",
    ending: "goog4_request",
    headers: Headers {
        body_hash: "x-goog-content-sha256",
        time: "x-goog-date",
        token: "x-goog-security-token",
    },
    query_prefix: "X-Goog-",
};

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credential {
    pub(super) key_id: String,
    pub(super) secret_key: String,
    pub(super) token: Option<String>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

/// What a signature is about.
pub(super) struct ToSign<'a> {
    pub(super) method: &'a str,
    /// With the port, unless it is the scheme's own.
    pub(super) host: &'a str,
    /// As it is sent: escaped.
    pub(super) path: &'a str,
    pub(super) query: &'a [(String, String)],
}

/// Who signs, for which region, when.
pub(super) struct Signer<'a> {
    pub(super) dialect: &'static Dialect,
    pub(super) credential: &'a Credential,
    pub(super) region: &'a str,
    pub(super) now: Timestamp,
}

impl Signer<'_> {
    /// The headers that are to be sent beside `headers` (names in lower case).
    pub(super) fn headers(
        &self,
        request: &ToSign<'_>,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Vec<(&'static str, String)> {
        let body_hash = hex(&Sha256::digest(body));
        let names = &self.dialect.headers;
        let mut added = vec![(names.body_hash, body_hash.clone()), (names.time, self.time())];
        if let Some(token) = &self.credential.token {
            added.push((names.token, token.clone()));
        }
        let of_added = added.iter().map(|(name, value)| (*name, value.as_str()));
        let signed: Vec<_> =
            headers.iter().copied().chain(of_added).chain([("host", request.host)]).collect();
        let (names, signature) = self.signature(request, signed, &body_hash);
        let Credential { key_id, .. } = self.credential;
        let (algorithm, scope) = (self.dialect.algorithm, self.scope());
        let proof = format!(
            "{algorithm} Credential={key_id}/{scope},SignedHeaders={names},Signature={signature}"
        );
        added.push(("authorization", proof));
        added
    }

    /// The query of an address that this request may be made at, by anyone, for so many seconds.
    pub(super) fn presigned_query(&self, request: &ToSign<'_>, lifetime_s: u64) -> String {
        let mut query = request.query.to_vec();
        let prefix = self.dialect.query_prefix;
        let mut add = |name: &str, value: String| query.push((format!("{prefix}{name}"), value));
        add("Algorithm", self.dialect.algorithm.to_owned());
        add("Credential", format!("{}/{}", self.credential.key_id, self.scope()));
        add("Date", self.time());
        add("Expires", lifetime_s.to_string());
        add("SignedHeaders", "host".to_owned());
        if let Some(token) = &self.credential.token {
            add("Security-Token", token.clone());
        }
        let ToSign { method, host, path, .. } = *request;
        let with_query = ToSign { method, host, path, query: &query };
        let signed = vec![("host", request.host)];
        let (_, signature) = self.signature(&with_query, signed, "UNSIGNED-PAYLOAD");
        format!("{}&{prefix}Signature={signature}", canonical_query(&query))
    }

    /// The names of the signed headers, and the signature.
    fn signature(
        &self,
        request: &ToSign<'_>,
        mut headers: Vec<(&str, &str)>,
        body_hash: &str,
    ) -> (String, String) {
        headers.sort_unstable();
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let mut canonical =
            format!("{}\n{}\n{}\n", request.method, request.path, canonical_query(request.query));
        for (name, value) in headers {
            let _ = writeln!(canonical, "{name}:{}", value.trim());
        }
        let _ = write!(canonical, "\n{names}\n{body_hash}");
        let canonical_hash = hex(&Sha256::digest(canonical.as_bytes()));
        let (time, scope) = (self.time(), self.scope());
        let text = format!("{}\n{time}\n{scope}\n{canonical_hash}", self.dialect.algorithm);
        (names, hex(hmac(&self.key(), &text).as_ref()))
    }

    fn key(&self) -> Vec<u8> {
        let day = self.day();
        let Dialect { secret_prefix, service, ending, .. } = *self.dialect;
        let mut key = format!("{secret_prefix}{}", self.credential.secret_key).into_bytes();
        for part in [day.as_str(), self.region, service, ending] {
            key = hmac(&key, part).as_ref().to_vec();
        }
        key
    }

    fn scope(&self) -> String {
        let Dialect { service, ending, .. } = self.dialect;
        format!("{}/{}/{service}/{ending}", self.day(), self.region)
    }

    fn day(&self) -> String {
        self.now.strftime("%Y%m%d").to_string()
    }

    fn time(&self) -> String {
        self.now.strftime("%Y%m%dT%H%M%SZ").to_string()
    }
}

fn hmac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of "Authenticating Requests (AWS Signature Version 4)" in Amazon's reference of the S3 API.
    #[test]
    fn amazons_own_examples_come_out() {
        let credential = Credential {
            key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            token: None,
        };
        let now = "2013-05-24T00:00:00Z".parse().expect("a time");
        let signer = Signer { dialect: &AMAZON, credential: &credential, region: "us-east-1", now };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let query = [pair("prefix", "J"), pair("max-keys", "2")];
        let host = "examplebucket.s3.amazonaws.com";
        let list = ToSign { method: "GET", host, path: "/", query: &query };
        let proof = |added: Vec<(&str, String)>| added.last().expect("a header").1.clone();
        assert_eq!(
            proof(signer.headers(&list, &[], b"")),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=host;x-amz-content-sha256;x-amz-date,\
             Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
        let get = ToSign { method: "GET", host, path: "/test.txt", query: &[] };
        let ranged = proof(signer.headers(&get, &[("range", "bytes=0-9")], b""));
        let expected = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
        assert!(ranged.ends_with(expected), "{ranged}");
        let address = signer.presigned_query(&get, 86_400);
        let expected = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        assert!(address.ends_with(expected), "{address}");
    }
    /// What the tests of an OpenResty library that signs for Google expect, whose hash of the body is fixed.
    #[test]
    fn googles_kind_comes_out_as_others_sign_it() {
        let credential =
            Credential { key_id: "XXXXX".into(), secret_key: "YYYYY".into(), token: None };
        let now = jiff::Timestamp::from_second(1_732_156_539).expect("a time");
        let signer = Signer { dialect: &GOOGLE, credential: &credential, region: "auto", now };
        let get = ToSign { method: "GET", host: "example.com", path: "/foo/bar", query: &[] };
        let headers = vec![
            ("host", "example.com"),
            ("x-goog-content-sha256", "UNSIGNED-PAYLOAD"),
            ("x-goog-date", "20241121T023539Z"),
        ];
        assert_eq!(signer.time(), "20241121T023539Z");
        let (names, signature) = signer.signature(&get, headers, "UNSIGNED-PAYLOAD");
        assert_eq!(names, "host;x-goog-content-sha256;x-goog-date");
        assert_eq!(signature, "528346f587a0b46433f92d583f3148b88a5117bf26131f328553789feb433028");
        let added = signer.headers(&get, &[], b"");
        assert!(added.iter().all(|(name, _)| !name.starts_with("x-amz-")), "{added:?}");
        let proof = &added.last().expect("a header").1;
        let scope = "GOOG4-HMAC-SHA256 Credential=XXXXX/20241121/auto/storage/goog4_request,";
        assert!(proof.starts_with(scope), "{proof}");
        let address = signer.presigned_query(&get, 300);
        assert!(address.starts_with("X-Goog-Algorithm=GOOG4-HMAC-SHA256&X-Goog-Credential="));
    }
}
