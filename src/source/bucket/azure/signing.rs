//! Signatures of Azure's kind (Shared Key), and tokens that let anyone read one blob for a while (service SAS). Checked against the
//! text that Microsoft's documentation signs, and against what Azurite makes of it.

use std::fmt::{self, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use ring::hmac;

use crate::source::bucket::request::{canonical_query, owned};

/// The version of tokens, whose text to sign has sixteen lines.
const SAS_VERSION: &str = "2020-12-06";
/// Headers whose values are signed without their names, in this order.
const SIGNED_HEADERS: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// An account and one of its keys.
#[derive(Clone)]
pub(super) struct AccountKey {
    account: String,
    key: hmac::Key,
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountKey(…)")
    }
}

/// What a signature is about.
pub(super) struct ToSign<'a> {
    pub(super) method: &'a str,
    /// As it is sent: escaped.
    pub(super) path: &'a str,
    pub(super) query: &'a [(String, String)],
    /// Names in lower case.
    pub(super) headers: Vec<(&'a str, &'a str)>,
    pub(super) body_bytes: usize,
}

impl AccountKey {
    /// `None` if the key is not base64.
    pub(super) fn new(account: &str, key: &str) -> Option<Self> {
        let key = BASE64_STANDARD.decode(key.trim()).ok().filter(|key| !key.is_empty())?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        Some(Self { account: account.to_owned(), key })
    }

    /// The value of the header `authorization`.
    pub(super) fn authorization(&self, to_sign: &ToSign<'_>) -> String {
        let signature = self.signature(&to_sign.text(&self.account));
        format!("SharedKey {}:{signature}", self.account)
    }

    /// The query of an address at which anyone may read the blob until then.
    pub(super) fn read_token(
        &self,
        container: &str,
        key: &str,
        until: Timestamp,
        protocol: Option<&str>,
    ) -> String {
        let until = until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let resource = format!("/blob/{}/{container}/{key}", self.account);
        let (none, protocol) = ("", protocol.unwrap_or_default());
        let lines = [
            "r",
            none, // from when on
            &until,
            &resource,
            none, // a policy of the container's
            none, // addresses of clients
            protocol,
            SAS_VERSION,
            "b",
            none, // snapshot
            none, // encryption scope
            none, // headers to answer with, five
            none,
            none,
            none,
            none,
        ];
        let signature = self.signature(&lines.join("\n"));
        let mut query = vec![
            ("sp", "r"),
            ("se", until.as_str()),
            ("sv", SAS_VERSION),
            ("sr", "b"),
            ("sig", signature.as_str()),
        ];
        if !protocol.is_empty() {
            query.push(("spr", protocol));
        }
        canonical_query(&owned(query))
    }

    fn signature(&self, text: &str) -> String {
        BASE64_STANDARD.encode(hmac::sign(&self.key, text.as_bytes()))
    }
}

impl ToSign<'_> {
    fn text(&self, account: &str) -> String {
        let length = self.body_bytes.to_string();
        let mut text = format!("{}\n", self.method);
        for name in SIGNED_HEADERS {
            let sent = self.headers.iter().find(|(sent, _)| *sent == name);
            let value = match sent {
                None if name == "content-length" && self.body_bytes > 0 => length.as_str(),
                Some(_) if name == "content-length" && self.body_bytes == 0 => "",
                sent => sent.map_or("", |(_, value)| value.trim()),
            };
            let _ = writeln!(text, "{value}");
        }
        let mut stores: Vec<_> =
            self.headers.iter().filter(|(name, _)| name.starts_with("x-ms-")).collect();
        stores.sort_unstable();
        for (name, value) in stores {
            let _ = writeln!(text, "{name}:{}", value.trim());
        }
        let _ = write!(text, "/{account}{}", self.path);
        let mut query: Vec<_> =
            self.query.iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        query.sort_unstable();
        for (name, value) in query {
            let _ = write!(text, "\n{name}:{value}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That of Azurite's account, which everybody knows.
    const KEY: &str =
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    /// The text is the example of "Authorize with Shared Key" in Microsoft's reference; its signature was computed once by Azurite's
    /// own `computeHMACSHA256`.
    #[test]
    fn microsofts_own_example_comes_out() {
        let query = [pair("restype", "container"), pair("comp", "metadata"), pair("timeout", "20")];
        let to_sign = ToSign {
            method: "GET",
            path: "/mycontainer",
            query: &query,
            headers: vec![
                ("x-ms-version", "2015-02-21"),
                ("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"),
            ],
            body_bytes: 0,
        };
        assert_eq!(
            to_sign.text("myaccount"),
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n\
             /myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
        );
        let key = AccountKey::new("myaccount", KEY).expect("a key");
        assert_eq!(
            key.authorization(&to_sign),
            "SharedKey myaccount:1u9lui2jDxj0+fpbHjQ5m5NnastJRSYM+PSmfi8TXx4="
        );
    }

    #[test]
    fn headers_stand_where_they_belong() {
        let headers = vec![
            ("range", "bytes=0-9"),
            ("if-match", "\"0x8D\""),
            ("content-type", "image/png"),
            ("if-none-match", "*"),
            ("accept", "anything"),
        ];
        let nothing = vec![("content-length", "0")];
        let empty =
            ToSign { method: "PUT", path: "/c/b", query: &[], headers: nothing, body_bytes: 0 };
        assert_eq!(empty.text("a"), "PUT\n\n\n\n\n\n\n\n\n\n\n\n/a/c/b");
        let to_sign = ToSign { method: "PUT", path: "/c/b", query: &[], headers, body_bytes: 11 };
        assert_eq!(
            to_sign.text("a"),
            "PUT\n\n\n11\n\nimage/png\n\n\n\"0x8D\"\n*\n\nbytes=0-9\n/a/c/b"
        );
    }

    /// The signature is what Azurite's own `generateBlobSASSignature` makes of the same.
    #[test]
    fn tokens_are_those_that_azurite_makes() {
        let key = AccountKey::new("myaccount", KEY).expect("a key");
        let until = "2026-11-26T10:05:00Z".parse().expect("a time");
        assert_eq!(
            key.read_token("photos", "a ö+/b.png", until, Some("https")),
            "se=2026-11-26T10%3A05%3A00Z&sig=SWDiJEd7%2BpUy%2FBQLfCES5dxChTdF8o3UYYTTLxcFJhE%3D&sp=r&spr=https&sr=b&sv=2020-12-06"
        );
        assert_eq!(format!("{key:?}"), "AccountKey(…)");
        assert!(AccountKey::new("a", "no base64!").is_none());
    }
}
