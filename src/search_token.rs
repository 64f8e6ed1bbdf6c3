//! The JWT that a search returns and feedback brings back. It carries the impression itself (query, model, first results),
//! so a search writes nothing and every replica with the key can take the rating. HS256 only; `exp`, `aud` and `jti` required.
//! Sessions of the page are tokens of the same keys, for another audience.

mod hs256;
mod key_ring;

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use self::key_ring::{KeyRing, Keys};
use crate::types::{ContentHash, HASH_PREFIX_BYTES, Impression, ImpressionResult, hex};

/// Results that a token carries; further ones of the same answer cannot be replayed.
pub const TOKEN_RESULTS_MAX: usize = 50;
const SESSION_AUDIENCE: &str = "image-search/session";
const RESULT_BYTES: usize = HASH_PREFIX_BYTES + size_of::<f32>();

/// Signs tokens with the current key, and verifies those of it and of the ones before.
pub struct TokenSigner {
    ring: KeyRing,
    audience: String,
    lifetime_s: u64,
}

/// The claims. Short names: the token travels with every answer.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    aud: String,
    iat: i64,
    exp: i64,
    jti: String,
    q: String,
    m: String,
    /// Results in order, base64url: per result 8 bytes of content hash, then the score as little-endian f32.
    r: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct SessionClaims {
    aud: String,
    iat: i64,
    exp: i64,
    /// Who it is.
    sub: String,
}

/// Why a token does not count. The answer to the client is the same for all but expiry.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("the token has expired; search again and rate the new result")]
    Expired,
    /// Not ours, tampered with, or incomplete.
    #[error("the token is not valid")]
    Invalid,
    /// The key file cannot be used.
    #[error("cannot use the signing key {path}: {reason}")]
    Key {
        /// Path of the key file.
        path: String,
        /// What is wrong and what to do.
        reason: String,
    },
}

impl TokenSigner {
    /// From the key itself (at least 32 bytes).
    pub fn new(key: &[u8], audience: &str, lifetime_s: u64) -> Self {
        Self { ring: KeyRing::of(key), audience: audience.to_owned(), lifetime_s }
    }

    /// With the key in a file, which is made (mode 0600) if it is not there. Another key in its place is noticed.
    pub fn from_file(path: &Path, audience: &str, lifetime_s: u64) -> Result<Self, TokenError> {
        Ok(Self { ring: KeyRing::open(path)?, audience: audience.to_owned(), lifetime_s })
    }

    /// Puts a new key in place of the one in the file, and returns its id. With `keep_s`, tokens of the old one still count,
    /// as they do of those that were retired at most so many seconds ago; without, no token that is out does.
    pub fn rotate(path: &Path, keep_s: Option<u64>, now_s: i64) -> Result<String, TokenError> {
        key_ring::rotate(path, keep_s, now_s)
    }

    /// Fails if the key's file is gone or cannot be used any more.
    pub fn check_key(&self) -> Result<(), TokenError> {
        self.ring.check()
    }

    /// The token of one answered search, and its id.
    pub fn sign(
        &self,
        query: &str,
        model: &str,
        results: &[(ContentHash, f32)],
        now_s: i64,
    ) -> Result<(String, String), TokenError> {
        let mut packed = Vec::with_capacity(RESULT_BYTES * TOKEN_RESULTS_MAX);
        for (hash, score) in results.iter().take(TOKEN_RESULTS_MAX) {
            packed.extend_from_slice(&hash.as_bytes()[..HASH_PREFIX_BYTES]);
            packed.extend_from_slice(&score.to_le_bytes());
        }
        let jti = Uuid::now_v7().to_string();
        let claims = Claims {
            aud: self.audience.clone(),
            iat: now_s,
            exp: now_s.saturating_add_unsigned(self.lifetime_s),
            jti: jti.clone(),
            q: query.to_owned(),
            m: model.to_owned(),
            r: BASE64.encode(packed),
        };
        Ok((encode(&self.ring.keys(), &claims)?, jti))
    }

    /// The token of somebody who proved to be `subject`.
    pub fn sign_session(
        &self,
        subject: &str,
        lifetime_s: u64,
        now_s: i64,
    ) -> Result<String, TokenError> {
        let claims = SessionClaims {
            aud: SESSION_AUDIENCE.to_owned(),
            iat: now_s,
            exp: now_s.saturating_add_unsigned(lifetime_s),
            sub: subject.to_owned(),
        };
        encode(&self.ring.keys(), &claims)
    }

    /// Whom a session's token was given to.
    pub fn verify_session(&self, token: &str) -> Result<String, TokenError> {
        Ok(self.decode::<SessionClaims>(token, SESSION_AUDIENCE)?.sub)
    }

    /// The impression that a token carries, if it is ours and not too old.
    pub fn verify(&self, token: &str) -> Result<Impression, TokenError> {
        let Claims { iat, jti, q, m, r, .. } = self.decode(token, &self.audience)?;
        let id = Uuid::parse_str(&jti).map_err(|_| TokenError::Invalid)?.to_string();
        let packed = BASE64.decode(r).map_err(|_| TokenError::Invalid)?;
        let results = packed.chunks_exact(RESULT_BYTES).map(unpack).collect();
        Ok(Impression { id, query: q, model: m, results, searched_ms: iat.saturating_mul(1000) })
    }

    fn decode<C: DeserializeOwned>(&self, token: &str, audience: &str) -> Result<C, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        let id = header.kid.as_deref();
        let mut keys = self.ring.keys();
        if keys.named(id).is_none() {
            // Another server may have got the new key before we looked.
            keys = self.ring.look();
        }
        let key = keys.named(id).ok_or(TokenError::Invalid)?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "aud"]);
        let verified = jsonwebtoken::decode::<C>(token, &key.decoding, &validation);
        verified.map(|verified| verified.claims).map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::ExpiredSignature => TokenError::Expired,
            _ => TokenError::Invalid,
        })
    }
}

fn encode(keys: &Arc<Keys>, claims: &impl Serialize) -> Result<String, TokenError> {
    let key = &keys.signing;
    let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::HS256) };
    jsonwebtoken::encode(&header, claims, &key.encoding).map_err(|_| TokenError::Invalid)
}

fn unpack(result: &[u8]) -> ImpressionResult {
    let (hash, score) = result.split_at(HASH_PREFIX_BYTES);
    let score = score.try_into().map_or(f32::NAN, f32::from_le_bytes);
    ImpressionResult { hash_prefix: hex(hash), score }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use jsonwebtoken::EncodingKey;

    use super::*;

    const NOW_S: i64 = 4_000_000_000;

    fn signer() -> TokenSigner {
        TokenSigner::new(&[7; 32], "feedback", 60)
    }

    fn results(count: usize) -> Vec<(ContentHash, f32)> {
        (0..count)
            .map(|index| (ContentHash::of(&index.to_le_bytes()), 1.0 / (index + 1) as f32))
            .collect()
    }

    #[test]
    fn a_token_brings_the_impression_back() {
        let (token, jti) = signer().sign("tennis", "clip@1", &results(3), NOW_S).expect("signed");
        let impression = signer().verify(&token).expect("verified");
        assert_eq!(
            (impression.id, impression.query.as_str(), impression.model.as_str()),
            (jti, "tennis", "clip@1")
        );
        assert_eq!(impression.searched_ms, NOW_S * 1000);
        assert_eq!(impression.results.len(), 3);
        assert_eq!(impression.results[1].score.to_bits(), 0.5f32.to_bits());
        assert!(results(3)[1].0.to_string().starts_with(&impression.results[1].hash_prefix));
    }

    #[test]
    fn the_largest_token_stays_below_4_kb() {
        // Control characters are the worst case: six bytes of JSON each.
        for query in ["\u{1}".repeat(256), "😀".repeat(256)] {
            let (token, _) =
                signer().sign(&query, &"m".repeat(100), &results(200), NOW_S).expect("signed");
            assert!(token.len() < 4096, "{} bytes", token.len());
            assert_eq!(signer().verify(&token).expect("verified").results.len(), TOKEN_RESULTS_MAX);
        }
    }

    #[test]
    fn foreign_tampered_and_old_tokens_are_refused() {
        let (token, _) = signer().sign("tennis", "clip@1", &results(1), NOW_S).expect("signed");
        let refused = |token: &str| matches!(signer().verify(token), Err(TokenError::Invalid));
        let other_key = TokenSigner::new(&[8; 32], "feedback", 60)
            .sign("x", "m", &[], NOW_S)
            .expect("signed")
            .0;
        let other_audience = TokenSigner::new(&[7; 32], "elsewhere", 60)
            .sign("x", "m", &[], NOW_S)
            .expect("signed")
            .0;
        assert!(refused(&other_key) && refused(&other_audience) && refused("") && refused("a.b.c"));
        let parts: Vec<&str> = token.split('.').collect();
        let claims = String::from_utf8(BASE64.decode(parts[1]).expect("base64")).expect("text");
        let changed = BASE64.encode(claims.replace("tennis", "tennos"));
        assert!(refused(&format!("{}.{changed}.{}", parts[0], parts[2])));
        let unsigned = BASE64.encode(r#"{"alg":"none","typ":"JWT"}"#);
        assert!(
            refused(&format!("{unsigned}.{}.", parts[1]))
                && refused(&format!("{unsigned}.{}.{}", parts[1], parts[2]))
        );
        let old = signer().sign("x", "m", &[], 1_000_000).expect("signed").0;
        assert!(matches!(signer().verify(&old), Err(TokenError::Expired)));
    }

    /// Good in all but its algorithm.
    fn signed_with_512_bits(claims: &serde_json::Value, key: &[u8]) -> String {
        let header = BASE64.encode(r#"{"alg":"HS512","typ":"JWT"}"#);
        let message = format!("{header}.{}", BASE64.encode(claims.to_string()));
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA512, key);
        let signature = BASE64.encode(ring::hmac::sign(&key, message.as_bytes()));
        format!("{message}.{signature}")
    }

    #[test]
    fn every_claim_is_required_and_the_algorithm_is_pinned() {
        let full = serde_json::json!({"aud": "feedback", "iat": NOW_S, "exp": NOW_S, "jti": Uuid::nil(), "q": "x", "m": "m", "r": ""});
        let key = EncodingKey::from_secret(&[7; 32]);
        let sign = |claims: &serde_json::Value| {
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).expect("signed")
        };
        hs256::install();
        assert!(signer().verify(&sign(&full)).is_ok());
        assert!(signer().verify(&signed_with_512_bits(&full, &[7; 32])).is_err());
        for claim in ["aud", "exp", "jti"] {
            let mut less = full.clone();
            less.as_object_mut().expect("an object").remove(claim);
            assert!(signer().verify(&sign(&less)).is_err(), "accepted without {claim}");
        }
    }

    #[test]
    fn the_key_is_made_once_and_private() {
        let dir = tempfile::tempdir().expect("temp");
        let path = dir.path().join("jwt.key");
        let (token, _) = TokenSigner::from_file(&path, "a", 60)
            .expect("made")
            .sign("x", "m", &[], NOW_S)
            .expect("signed");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert!(TokenSigner::from_file(&path, "a", 60).expect("read").verify(&token).is_ok());
        std::fs::write(&path, "short").expect("write");
        assert!(
            TokenSigner::from_file(&path, "a", 60)
                .err()
                .expect("short")
                .to_string()
                .contains("at least 32")
        );
    }

    #[test]
    fn after_a_rotation_what_is_out_still_counts_and_new_tokens_have_the_new_key() {
        let dir = tempfile::tempdir().expect("temp");
        let path = dir.path().join("jwt.key");
        let open = || TokenSigner::from_file(&path, "a", 60).expect("opened");
        let (running, behind) = (open(), open());
        let kid = |token: &str| jsonwebtoken::decode_header(token).expect("a header").kid;
        let sign = |signer: &TokenSigner| signer.sign("x", "m", &[], NOW_S).expect("signed").0;
        let before = sign(&running);
        let new_kid = TokenSigner::rotate(&path, Some(3600), 1000).expect("rotated");
        running.ring.look();
        let after = sign(&running);
        assert_eq!(kid(&after).as_ref(), Some(&new_kid));
        assert_ne!(kid(&before), kid(&after));
        // `behind` did not look yet; a token of a key that it does not know has it look.
        for signer in [&running, &open(), &behind] {
            assert!(signer.verify(&before).is_ok() && signer.verify(&after).is_ok());
        }
        let files = || std::fs::read_dir(dir.path()).expect("read").count();
        assert_eq!(files(), 2);
        TokenSigner::rotate(&path, Some(3600), 2000).expect("rotated");
        assert!(open().verify(&before).is_ok(), "retired a while ago");
        TokenSigner::rotate(&path, Some(3600), 5000).expect("rotated");
        assert!(open().verify(&before).is_err(), "retired too long ago");
        assert!(open().verify(&after).is_ok());
        for entry in std::fs::read_dir(dir.path()).expect("read") {
            let mode = entry.expect("an entry").metadata().expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        TokenSigner::rotate(&path, None, 6000).expect("rotated");
        assert!(open().verify(&after).is_err() && files() == 1, "everything old is gone");
    }

    #[test]
    fn a_key_that_vanishes_is_noticed_and_its_server_goes_on() {
        let dir = tempfile::tempdir().expect("temp");
        let path = dir.path().join("jwt.key");
        let signer = TokenSigner::from_file(&path, "a", 60).expect("made");
        signer.check_key().expect("there");
        std::fs::remove_file(&path).expect("removed");
        signer.ring.look();
        let (token, _) = signer.sign("x", "m", &[], NOW_S).expect("signed");
        assert!(signer.verify(&token).is_ok());
        let gone = signer.check_key().expect_err("gone").to_string();
        assert!(gone.contains("jwt.key") && gone.contains("vanished"), "{gone}");
    }

    #[test]
    fn sessions_and_ratings_are_told_apart() {
        let session = signer().sign_session("page", 60, NOW_S).expect("signed");
        assert_eq!(signer().verify_session(&session).expect("verified"), "page");
        assert!(signer().verify(&session).is_err());
        let (token, _) = signer().sign("x", "m", &[], NOW_S).expect("signed");
        assert!(signer().verify_session(&token).is_err());
        let old = signer().sign_session("page", 60, 1_000_000).expect("signed");
        assert!(matches!(signer().verify_session(&old), Err(TokenError::Expired)));
    }
}
