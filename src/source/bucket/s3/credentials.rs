//! Whose requests these are, in the order that Amazon's own tools look in: the environment, a web identity, a container's
//! role, a profile of the file that those tools share (read anew each time, since they renew it), the machine's role. For
//! Google's buckets, the environment alone, by names of its own.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;

use super::signing::Credential;
use crate::config::Secret;
use crate::source::bucket::lent::{Lent, client, json, read_small, read_token, text};
use crate::source::bucket::request::{canonical_query, owned};

/// Where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    Environment(Credential),
    WebIdentity { token_file: PathBuf, role: String, session: String, url: String },
    Container { url: String, token: Option<Secret>, token_file: Option<PathBuf> },
    Profile { file: PathBuf, name: String },
    Machine { url: String },
    Nobody,
}

pub(super) struct Credentials {
    origin: Origin,
    http: reqwest::Client,
    lent: Lent<Credential>,
}

impl Credentials {
    /// A key of the kind HMAC, which has no end.
    pub(super) fn of_google(variable: &dyn Fn(&str) -> Option<String>) -> reqwest::Result<Self> {
        let key = variable("GS_ACCESS_KEY_ID").zip(variable("GS_SECRET_ACCESS_KEY"));
        let origin = key.map_or(Origin::Nobody, |(key_id, secret_key)| {
            Origin::Environment(Credential { key_id, secret_key, token: None })
        });
        Self::new(origin)
    }

    /// Reads nothing but variables. `profile`: the one that the configuration names, if it does.
    pub(super) fn find(
        profile: &str,
        region: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> reqwest::Result<Self> {
        Self::new(Origin::find(profile, region, variable))
    }

    fn new(origin: Origin) -> reqwest::Result<Self> {
        Ok(Self { origin, http: client()?, lent: Lent::new() })
    }

    /// What to sign with now. The error says where it was looked for.
    pub(super) async fn get(&self) -> Result<Credential, String> {
        let found = match &self.origin {
            Origin::Environment(credential) => credential.clone(),
            Origin::Profile { file, name } => {
                let (file, name) = (file.clone(), name.clone());
                let read = tokio::task::spawn_blocking(move || read_profile(&file, &name)).await;
                read.map_err(|error| error.to_string())??
            }
            Origin::Nobody => return Err("nobody was named".to_owned()),
            _ => self.lent.get(self.renewed()).await?,
        };
        // Nothing else can stand in a header.
        let texts = [Some(&found.key_id), found.token.as_ref()];
        let is_sendable = |text: &String| text.bytes().all(|byte| byte.is_ascii_graphic());
        if texts.into_iter().flatten().all(is_sendable) {
            return Ok(found);
        }
        Err("the access key or the token has characters that none has; look for spaces and line ends in them".to_owned())
    }

    async fn renewed(&self) -> Result<(Credential, Timestamp), String> {
        match &self.origin {
            Origin::WebIdentity { token_file, role, session, url } => {
                let token = read_token(token_file).await?;
                let form = [
                    ("Action", "AssumeRoleWithWebIdentity"),
                    ("Version", "2011-06-15"),
                    ("RoleArn", role.as_str()),
                    ("RoleSessionName", session.as_str()),
                    ("WebIdentityToken", token.as_str()),
                ];
                let asking = self.http.post(url).body(canonical_query(&owned(form)));
                let kind = "application/x-www-form-urlencoded";
                let text = text(asking.header("content-type", kind)).await?;
                let assumed: Assumed =
                    quick_xml::de::from_str(&text).map_err(|error| error.to_string())?;
                assumed.result.credentials.usable()
            }
            Origin::Container { url, token, token_file } => {
                let token = match token_file {
                    Some(file) => Some(read_token(file).await?),
                    None => token.as_ref().map(|token| token.reveal().to_owned()),
                };
                let mut asking = self.http.get(url);
                if let Some(token) = token {
                    asking = asking.header(AUTHORIZATION, token);
                }
                json::<Given>(asking).await?.usable()
            }
            Origin::Machine { url } => self.of_machine(url).await,
            Origin::Environment(_) | Origin::Profile { .. } | Origin::Nobody => {
                Err("nothing to renew".to_owned())
            }
        }
    }

    /// The role of a virtual machine, by the second version of its metadata service.
    async fn of_machine(&self, url: &str) -> Result<(Credential, Timestamp), String> {
        let asking = self.http.put(format!("{url}/latest/api/token"));
        let token = text(asking.header("x-aws-ec2-metadata-token-ttl-seconds", "300")).await?;
        let roles = format!("{url}/latest/meta-data/iam/security-credentials/");
        let ask = |url: &str| self.http.get(url).header("x-aws-ec2-metadata-token", &token);
        let role = text(ask(&roles)).await?;
        let role = role.lines().next().unwrap_or_default();
        json::<Given>(ask(&format!("{roles}{role}"))).await?.usable()
    }
}

impl Origin {
    fn find(profile: &str, region: &str, variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let file = variable("AWS_SHARED_CREDENTIALS_FILE")
            .map(PathBuf::from)
            .or_else(|| Some(Path::new(&variable("HOME")?).join(".aws/credentials")));
        let file = file.unwrap_or_default();
        if !profile.is_empty() {
            return Self::Profile { file, name: profile.to_owned() };
        }
        if let (Some(key_id), Some(secret_key)) =
            (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"))
        {
            let token = variable("AWS_SESSION_TOKEN");
            return Self::Environment(Credential { key_id, secret_key, token });
        }
        if let (Some(token_file), Some(role)) =
            (variable("AWS_WEB_IDENTITY_TOKEN_FILE"), variable("AWS_ROLE_ARN"))
        {
            return Self::WebIdentity {
                token_file: token_file.into(),
                role,
                session: variable("AWS_ROLE_SESSION_NAME")
                    .unwrap_or_else(|| "image-search".to_owned()),
                url: variable("AWS_ENDPOINT_URL_STS")
                    .unwrap_or_else(|| format!("https://sts.{region}.amazonaws.com/")),
            };
        }
        let relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        let url = relative.map(|path| format!("http://169.254.170.2{path}"));
        if let Some(url) = url.or_else(|| variable("AWS_CONTAINER_CREDENTIALS_FULL_URI")) {
            return Self::Container {
                url,
                token: variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Secret::from),
                token_file: variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(PathBuf::from),
            };
        }
        let named = variable("AWS_PROFILE");
        if named.is_some() || file.is_file() {
            return Self::Profile { file, name: named.unwrap_or_else(|| "default".to_owned()) };
        }
        if variable("AWS_EC2_METADATA_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true")) {
            return Self::Nobody;
        }
        let url = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
        let url = url.unwrap_or_else(|| "http://169.254.169.254".to_owned());
        Self::Machine { url: url.trim_end_matches('/').to_owned() }
    }
}

/// Credentials as services give them.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Given {
    access_key_id: String,
    secret_access_key: String,
    #[serde(alias = "SessionToken")]
    token: Option<String>,
    expiration: String,
}

#[derive(Deserialize)]
struct Assumed {
    #[serde(rename = "AssumeRoleWithWebIdentityResult")]
    result: AssumedResult,
}

#[derive(Deserialize)]
struct AssumedResult {
    #[serde(rename = "Credentials")]
    credentials: Given,
}

impl Given {
    fn usable(self) -> Result<(Credential, Timestamp), String> {
        let (key_id, secret_key) = (self.access_key_id, self.secret_access_key);
        let until = self.expiration.parse().map_err(|error: jiff::Error| error.to_string())?;
        Ok((Credential { key_id, secret_key, token: self.token }, until))
    }
}

fn read_profile(file: &Path, name: &str) -> Result<Credential, String> {
    credential(&read_small(file)?, name).ok_or_else(|| {
        let file = file.display();
        format!("{file} has no profile {name:?} with aws_access_key_id and aws_secret_access_key")
    })
}

/// What stands below `[profile]`.
fn credential(text: &str, profile: &str) -> Option<Credential> {
    let (mut is_ours, mut key_id, mut secret_key, mut token) = (false, None, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_ours = section.trim() == profile;
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| is_ours) else { continue };
        let value = Some(value.trim().to_owned());
        match key.trim() {
            "aws_access_key_id" => key_id = value,
            "aws_secret_access_key" => secret_key = value,
            "aws_session_token" => token = value,
            _ => {}
        }
    }
    Some(Credential { key_id: key_id?, secret_key: secret_key?, token })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::bucket::tests::{CannedStore, answer, error};

    const FILE: &str = "\
# by hand
[default]
aws_access_key_id=AKIADEFAULT
aws_secret_access_key = a/b+c==

[photos]
  aws_access_key_id = AKIAPHOTOS
aws_secret_access_key = secret
aws_session_token = token==
[half]
aws_access_key_id = AKIAHALF
";
    const GIVEN: &str = r#"{"Code":"Success","AccessKeyId":"ASIA1","SecretAccessKey":"s","Token":"t","Expiration":"2999-01-01T00:00:00Z"}"#;

    fn found(profile: &str, variables: &[(&str, &str)]) -> Credentials {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let variables: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        };
        Credentials::find(profile, "eu-west-1", &variable).expect("a client")
    }

    #[test]
    fn profiles_are_found_by_their_names() {
        let read = |profile: &str| credential(FILE, profile);
        let default = read("default").expect("a profile");
        assert_eq!(
            (default.key_id.as_str(), default.secret_key.as_str()),
            ("AKIADEFAULT", "a/b+c==")
        );
        assert_eq!(default.token, None);
        assert_eq!(read("photos").and_then(|it| it.token).as_deref(), Some("token=="));
        assert!(read("half").is_none() && read("nobody").is_none());
    }

    #[tokio::test]
    async fn a_profile_is_read_anew_and_says_what_it_lacks() {
        let dir = tempfile::tempdir().expect("temp");
        let file = dir.path().join("credentials");
        let path = file.display().to_string();
        let profile = found("photos", &[("AWS_SHARED_CREDENTIALS_FILE", &path)]);
        let error = profile.get().await.expect_err("no file");
        assert!(error.contains("credentials"), "{error}");
        std::fs::write(&file, FILE).expect("written");
        assert_eq!(profile.get().await.expect("there").key_id, "AKIAPHOTOS");
        std::fs::write(&file, FILE.replace("AKIAPHOTOS", "AKIARENEWED")).expect("written");
        assert_eq!(profile.get().await.expect("there").key_id, "AKIARENEWED");
    }

    #[tokio::test]
    async fn the_environment_comes_before_what_runs_beside_us() {
        let fixed =
            [("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_PROFILE", "x")];
        assert_eq!(found("", &fixed).get().await.expect("there").key_id, "AKIA");
        assert!(matches!(found("photos", &fixed).origin, Origin::Profile { .. }), "named by us");
        let web = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "arn:r")];
        assert!(matches!(found("", &web).origin, Origin::WebIdentity { .. }));
        assert!(matches!(found("", &[]).origin, Origin::Machine { .. }));
        assert_eq!(found("", &[("AWS_EC2_METADATA_DISABLED", "true")]).origin, Origin::Nobody);
        let odd = [("AWS_ACCESS_KEY_ID", "AKIA\n"), ("AWS_SECRET_ACCESS_KEY", "s")];
        assert!(found("", &odd).get().await.expect_err("no header holds it").contains("line ends"));
        assert!(!format!("{:?}", found("", &fixed).origin).contains("\"s\""), "it is printed");
    }

    #[tokio::test]
    async fn a_container_gives_passing_ones_which_are_kept() {
        let store = CannedStore::start([answer(200, GIVEN), error(500, "Down")]).await;
        let url = format!("{}/role", store.url());
        let variables = [
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer b"),
        ];
        let credentials = found("", &variables);
        for _ in 0..3 {
            let given = credentials.get().await.expect("given");
            assert_eq!((given.key_id.as_str(), given.token.as_deref()), ("ASIA1", Some("t")));
        }
        let asked = store.asked();
        assert!(asked.len() == 1 && asked[0].has("authorization: Bearer b"), "{asked:?}");
    }

    #[tokio::test]
    async fn those_that_end_soon_are_asked_for_again() {
        let soon = GIVEN.replace("2999-01-01T00:00:00Z", &Timestamp::now().to_string());
        let store =
            CannedStore::start([answer(200, soon), answer(200, GIVEN.replace("ASIA1", "ASIA2"))])
                .await;
        let url = format!("{}/role", store.url());
        let credentials = found("", &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str())]);
        assert_eq!(credentials.get().await.expect("given").key_id, "ASIA1");
        assert_eq!(credentials.get().await.expect("given").key_id, "ASIA2");
    }

    #[tokio::test]
    async fn a_machine_is_asked_for_a_token_for_its_role_and_for_its_credentials() {
        let answers =
            [answer(200, "machine-token"), answer(200, "photos-role\n"), answer(200, GIVEN)];
        let store = CannedStore::start(answers).await;
        let credentials = found("", &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", store.url())]);
        assert_eq!(credentials.get().await.expect("given").key_id, "ASIA1");
        let asked = store.asked();
        assert!(asked[0].line().starts_with("PUT /latest/api/token"), "{asked:?}");
        assert!(asked[2].line().contains("/security-credentials/photos-role"), "{asked:?}");
        assert!(asked[2].has("x-aws-ec2-metadata-token: machine-token"), "{asked:?}");
    }

    #[tokio::test]
    async fn a_web_identity_is_exchanged() {
        let xml = "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult>\
            <Audience>a</Audience><Credentials><SessionToken>t</SessionToken><SecretAccessKey>s</SecretAccessKey>\
            <Expiration>2999-01-01T00:00:00Z</Expiration><AccessKeyId>ASIAWEB</AccessKeyId></Credentials>\
            </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";
        let store = CannedStore::start([answer(200, xml)]).await;
        let dir = tempfile::tempdir().expect("temp");
        let file = dir.path().join("token");
        std::fs::write(&file, "jwt\n").expect("written");
        let path = file.display().to_string();
        let variables = [
            ("AWS_WEB_IDENTITY_TOKEN_FILE", path.as_str()),
            ("AWS_ROLE_ARN", "arn:aws:iam::1:role/photos"),
            ("AWS_ENDPOINT_URL_STS", store.url()),
        ];
        let given = found("", &variables).get().await.expect("given");
        assert_eq!((given.key_id.as_str(), given.token.as_deref()), ("ASIAWEB", Some("t")));
    }
}
