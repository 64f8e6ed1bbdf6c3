//! The JWT that a search returns and feedback brings back. It carries the impression itself (query, model, first results),
//! so a search writes nothing and every replica with the key can take the rating. HS256 only; `exp`, `aud` and `jti` required.

mod hs256;

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::types::{ContentHash, Impression, ImpressionResult, hex};

/// Results that a token carries; further ones of the same answer cannot be replayed.
pub const TOKEN_RESULTS_MAX: usize = 50;
const KEY_BYTES: usize = 32;
const HASH_PREFIX_BYTES: usize = 8;
const RESULT_BYTES: usize = HASH_PREFIX_BYTES + size_of::<f32>();

/// Signs and verifies tokens with one key.
pub struct TokenSigner {
    encoding: EncodingKey,
    decoding: DecodingKey,
    key_id: String,
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
        hs256::install();
        // Tells keys apart without telling anything of the key.
        let key_id = hex(&blake3::derive_key("image-search 2026 token key id", key)[..6]);
        Self {
            encoding: EncodingKey::from_secret(key),
            decoding: DecodingKey::from_secret(key),
            key_id,
            audience: audience.to_owned(),
            lifetime_s,
        }
    }

    /// With the key in a file, which is made (mode 0600) if it is not there.
    pub fn from_file(path: &Path, audience: &str, lifetime_s: u64) -> Result<Self, TokenError> {
        let failed = |reason: String| TokenError::Key { path: path.display().to_string(), reason };
        let key = match std::fs::read(path) {
            Ok(key) => key,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                create_key(path).map_err(|error| failed(error.to_string()))?
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        if key.len() < KEY_BYTES {
            return Err(failed(format!(
                "it has {} bytes, at least {KEY_BYTES} are needed; delete it to have a new one made",
                key.len()
            )));
        }
        let mode = std::fs::metadata(path)
            .map_err(|error| failed(error.to_string()))?
            .permissions()
            .mode();
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "other users can read the signing key; run chmod 600 on it");
        }
        Ok(Self::new(&key, audience, lifetime_s))
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
        let header = Header { kid: Some(self.key_id.clone()), ..Header::new(Algorithm::HS256) };
        let token = jsonwebtoken::encode(&header, &claims, &self.encoding)
            .map_err(|_| TokenError::Invalid)?;
        Ok((token, jti))
    }

    /// The impression that a token carries, if it is ours and not too old.
    pub fn verify(&self, token: &str) -> Result<Impression, TokenError> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "aud"]);
        let verified = jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation);
        let claims = verified.map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::ExpiredSignature => TokenError::Expired,
            _ => TokenError::Invalid,
        })?;
        let Claims { iat, jti, q, m, r, .. } = claims.claims;
        let id = Uuid::parse_str(&jti).map_err(|_| TokenError::Invalid)?.to_string();
        let packed = BASE64.decode(r).map_err(|_| TokenError::Invalid)?;
        let results = packed.chunks_exact(RESULT_BYTES).map(unpack).collect();
        Ok(Impression { id, query: q, model: m, results, searched_ms: iat.saturating_mul(1000) })
    }
}

fn unpack(result: &[u8]) -> ImpressionResult {
    let (hash, score) = result.split_at(HASH_PREFIX_BYTES);
    let score = score.try_into().map_or(f32::NAN, f32::from_le_bytes);
    ImpressionResult { hash_prefix: hex(hash), score }
}

fn create_key(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut key = vec![0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(std::io::Error::other)?;
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&key)?;
    file.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
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
}
