//! Whose requests these are, and where the account is: a connection string, an account with its key or a SAS token (all from the
//! environment), or else the identity of the pod or machine.

use std::fmt;
use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use reqwest::Url;
use serde::Deserialize;

use super::signing::AccountKey;
use crate::config::AzureConfig;
use crate::source::bucket::lent::{Lent, client, json, read_token};
use crate::source::bucket::request::{ClientError, canonical_query, normal_endpoint, owned};

const RESOURCE: &str = "https://storage.azure.com/";

/// What a request is signed with.
#[derive(Clone)]
pub(super) enum Credential {
    Key(AccountKey),
    Sas(SasToken),
    /// A token of an identity.
    Bearer(String),
}

/// What makes an address one that may be used, until it ends.
#[derive(Clone)]
pub(super) struct SasToken {
    /// Escaped, without a question mark.
    pub(super) query: String,
    pub(super) ends: Option<Timestamp>,
}

/// Where they come from.
enum Origin {
    Fixed(Credential),
    /// An identity of a pod, whose token is exchanged.
    Workload {
        url: String,
        client: String,
        token_file: PathBuf,
    },
    /// That of a virtual machine, by its metadata service.
    Machine {
        url: String,
        client: Option<String>,
    },
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fixed(Credential::Key(_)) => "Key(…)",
            Self::Fixed(Credential::Sas(_)) => "Sas(…)",
            Self::Fixed(Credential::Bearer(_)) => "Bearer(…)",
            Self::Workload { .. } => "Workload",
            Self::Machine { .. } => "Machine",
        })
    }
}

pub(super) struct Credentials {
    origin: Origin,
    http: reqwest::Client,
    lent: Lent<String>,
}

impl Credentials {
    fn new(origin: Origin) -> Result<Self, ClientError> {
        let http = client().map_err(|error| ClientError(error.to_string()))?;
        Ok(Self { origin, http, lent: Lent::new() })
    }

    /// What to sign with now. The error says where it was looked for.
    pub(super) async fn get(&self) -> Result<Credential, String> {
        match &self.origin {
            Origin::Fixed(credential) => Ok(credential.clone()),
            _ => self.lent.get(self.renewed()).await.map(Credential::Bearer),
        }
    }

    /// The account's key, if that is what signs.
    pub(super) fn key(&self) -> Option<&AccountKey> {
        if let Origin::Fixed(Credential::Key(key)) = &self.origin { Some(key) } else { None }
    }

    pub(super) fn sas(&self) -> Option<&SasToken> {
        if let Origin::Fixed(Credential::Sas(token)) = &self.origin { Some(token) } else { None }
    }

    async fn renewed(&self) -> Result<(String, Timestamp), String> {
        let asking = match &self.origin {
            Origin::Fixed(_) => return Err("nothing to renew".to_owned()),
            Origin::Workload { url, client, token_file } => {
                let token = read_token(token_file).await?;
                let form = [
                    ("client_assertion", token.as_str()),
                    (
                        "client_assertion_type",
                        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                    ),
                    ("client_id", client),
                    ("grant_type", "client_credentials"),
                    ("scope", &format!("{RESOURCE}.default")),
                ];
                let kind = "application/x-www-form-urlencoded";
                self.http.post(url).body(canonical_query(&owned(form))).header("content-type", kind)
            }
            Origin::Machine { url, client } => {
                let query = [("api-version", "2018-02-01"), ("resource", RESOURCE)];
                let query =
                    query.into_iter().chain(client.as_ref().map(|id| ("client_id", id.as_str())));
                let query = canonical_query(&owned(query));
                let url = format!("{url}/metadata/identity/oauth2/token?{query}");
                self.http.get(url).header("metadata", "true")
            }
        };
        json::<Given>(asking).await?.usable()
    }
}

/// A token as services give it; numbers are texts at some of them.
#[derive(Deserialize)]
struct Given {
    access_token: String,
    expires_in: serde_json::Value,
}

impl Given {
    fn usable(self) -> Result<(String, Timestamp), String> {
        let lifetime_s = match &self.expires_in {
            serde_json::Value::String(text) => text.parse().ok(),
            other => other.as_i64(),
        };
        let lifetime_s = lifetime_s.ok_or("the token does not say when it ends")?;
        let until = Timestamp::now().checked_add(SignedDuration::from_secs(lifetime_s));
        // Nothing else can stand in a header.
        if !self.access_token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the token has characters that none has".to_owned());
        }
        Ok((self.access_token, until.map_err(|error| error.to_string())?))
    }
}

/// Where the account is, and in whose name it is asked.
pub(super) struct Found {
    /// Without a slash at its end.
    pub(super) endpoint: String,
    pub(super) credentials: Credentials,
}

/// What `AZURE_STORAGE_CONNECTION_STRING` says; missing parts are empty.
#[derive(Default)]
struct Connection {
    protocol: String,
    account: String,
    key: String,
    sas: String,
    endpoint: String,
    endpoint_suffix: String,
}

impl Connection {
    fn parse(text: &str) -> Result<Self, ClientError> {
        let wrong = |what: &str| {
            ClientError(format!(
                "AZURE_STORAGE_CONNECTION_STRING {what}; copy it from the account's access keys"
            ))
        };
        let mut connection = Self::default();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| wrong("is none"))?;
            let place = match name.trim().to_ascii_lowercase().as_str() {
                "defaultendpointsprotocol" => &mut connection.protocol,
                "accountname" => &mut connection.account,
                "accountkey" => &mut connection.key,
                "sharedaccesssignature" => &mut connection.sas,
                "blobendpoint" => &mut connection.endpoint,
                "endpointsuffix" => &mut connection.endpoint_suffix,
                "usedevelopmentstorage" => {
                    return Err(wrong(
                        "is for an emulator, whose endpoint and key have to be named",
                    ));
                }
                _ => continue,
            };
            value.trim().clone_into(place);
        }
        Ok(connection)
    }
}

impl Found {
    /// Reads nothing but variables.
    pub(super) fn find(
        settings: &AzureConfig,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ClientError> {
        let connection = variable("AZURE_STORAGE_CONNECTION_STRING");
        let has_connection = connection.is_some();
        let connection = Connection::parse(&connection.unwrap_or_default())?;
        // One without a name, key or token is not mixed with what belongs to another account.
        let or_variable = |given: &str, name: &str| match given {
            "" if has_connection => None,
            "" => variable(name),
            given => Some(given.to_owned()),
        };
        let endpoint = first([&settings.endpoint, &connection.endpoint]);
        let endpoint = endpoint.map(normal_endpoint).transpose()?;
        let account = first([&settings.account, &connection.account])
            .map(str::to_owned)
            .or_else(|| or_variable("", "AZURE_STORAGE_ACCOUNT"))
            .or_else(|| endpoint.as_deref().and_then(account_of));
        let endpoint = match (endpoint, &account) {
            (Some(endpoint), _) => endpoint,
            (None, Some(account)) => {
                let protocol = first([connection.protocol.as_str()]).unwrap_or("https");
                let suffix = first([connection.endpoint_suffix.as_str()]);
                let suffix = suffix.unwrap_or("core.windows.net");
                normal_endpoint(&format!("{protocol}://{account}.blob.{suffix}"))?
            }
            (None, None) => {
                return Err(ClientError(
                    "nobody says which storage account az:// means; set AZURE_STORAGE_ACCOUNT, source.azure.account or AZURE_STORAGE_CONNECTION_STRING".to_owned(),
                ));
            }
        };
        let origin = if let Some(key) = or_variable(&connection.key, "AZURE_STORAGE_KEY") {
            let account = account.ok_or_else(|| {
                ClientError("a key needs the name of its account; set AZURE_STORAGE_ACCOUNT or source.azure.account".to_owned())
            })?;
            let key = AccountKey::new(&account, &key).ok_or_else(|| {
                ClientError("the key of the storage account is not one: keys are base64; look for spaces and missing ends in AZURE_STORAGE_KEY or AZURE_STORAGE_CONNECTION_STRING".to_owned())
            })?;
            Origin::Fixed(Credential::Key(key))
        } else if let Some(token) = or_variable(&connection.sas, "AZURE_STORAGE_SAS_TOKEN") {
            Origin::Fixed(Credential::Sas(SasToken::parse(&token)?))
        } else {
            identity(variable)
        };
        Ok(Self { endpoint, credentials: Credentials::new(origin)? })
    }
}

fn first<'a>(
    texts: impl IntoIterator<Item = &'a (impl AsRef<str> + ?Sized + 'a)>,
) -> Option<&'a str> {
    texts.into_iter().map(AsRef::as_ref).find(|text| !text.is_empty())
}

/// It stands in front of the host or, at stand-ins, at the end of the path.
fn account_of(endpoint: &str) -> Option<String> {
    let url = Url::parse(endpoint).ok()?;
    let in_path = url.path_segments()?.next_back().filter(|segment| !segment.is_empty());
    let in_host = url.domain().and_then(|host| host.split_once(".blob.")).map(|(name, _)| name);
    in_path.or(in_host).map(str::to_owned)
}

fn identity(variable: &dyn Fn(&str) -> Option<String>) -> Origin {
    let client = variable("AZURE_CLIENT_ID");
    if let (Some(token_file), Some(client), Some(tenant)) =
        (variable("AZURE_FEDERATED_TOKEN_FILE"), &client, variable("AZURE_TENANT_ID"))
    {
        let host = variable("AZURE_AUTHORITY_HOST");
        let host = host.unwrap_or_else(|| "https://login.microsoftonline.com".to_owned());
        let url = format!("{}/{tenant}/oauth2/v2.0/token", host.trim_end_matches('/'));
        return Origin::Workload { url, client: client.clone(), token_file: token_file.into() };
    }
    let url = variable("AZURE_POD_IDENTITY_AUTHORITY_HOST");
    let url = url.unwrap_or_else(|| "http://169.254.169.254".to_owned());
    Origin::Machine { url: url.trim_end_matches('/').to_owned(), client }
}

impl SasToken {
    /// The error repeats nothing of it.
    fn parse(text: &str) -> Result<Self, ClientError> {
        let query = text.trim().trim_start_matches('?');
        let is_sendable = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        if !query.bytes().all(is_sendable) || !query.split('&').any(|part| part.starts_with("sig="))
        {
            return Err(ClientError(
                "the SAS token is none: it has a part sig=…, and no spaces; look at AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_CONNECTION_STRING".to_owned(),
            ));
        }
        let ends = query.split('&').find_map(|part| part.strip_prefix("se=")).and_then(|ends| {
            let ends = percent_encoding::percent_decode_str(ends).decode_utf8().ok()?;
            ends.parse().ok()
        });
        Ok(Self { query: query.to_owned(), ends })
    }

    /// When it ended, if it did.
    pub(super) fn ended(&self) -> Option<Timestamp> {
        self.ends.filter(|ends| *ends <= Timestamp::now())
    }

    /// What nobody may see of it.
    pub(super) fn signature(&self) -> &str {
        self.query.split('&').find_map(|part| part.strip_prefix("sig=")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::bucket::tests::{CannedStore, answer, error};

    const TOKEN: &str =
        r#"{"access_token":"ey.J0","expires_in":"86399","expires_on":"99","token_type":"Bearer"}"#;

    fn found_with(
        change: impl FnOnce(&mut AzureConfig),
        variables: &[(&str, &str)],
    ) -> Result<Found, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut settings = crate::config::built_in().source.azure;
        change(&mut settings);
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Found::find(&settings, &variable).map_err(|error| error.to_string())
    }

    fn found(variables: &[(&str, &str)]) -> Result<Found, String> {
        found_with(|_| {}, variables)
    }

    fn bearer(credential: Credential) -> String {
        if let Credential::Bearer(token) = credential { token } else { panic!("no token") }
    }

    #[test]
    fn an_account_is_found_where_others_look_for_it() {
        let endpoint = |variables: &[(&str, &str)]| found(variables).map(|found| found.endpoint);
        let key = ("AZURE_STORAGE_KEY", "c2VjcmV0");
        assert_eq!(
            endpoint(&[("AZURE_STORAGE_ACCOUNT", "photos"), key]).as_deref(),
            Ok("https://photos.blob.core.windows.net")
        );
        let text = "DefaultEndpointsProtocol=https;AccountName=other;AccountKey=c2VjcmV0;EndpointSuffix=core.chinacloudapi.cn;";
        let connection = ("AZURE_STORAGE_CONNECTION_STRING", text);
        let china = endpoint(&[("AZURE_STORAGE_ACCOUNT", "photos"), connection]);
        assert_eq!(china.as_deref(), Ok("https://other.blob.core.chinacloudapi.cn"));
        let text = "BlobEndpoint=https://photos.example/;SharedAccessSignature=sv=1&sig=hunter2%3D";
        let sas = found(&[("AZURE_STORAGE_CONNECTION_STRING", text), key]).expect("found");
        assert_eq!(sas.endpoint, "https://photos.example");
        assert_eq!(format!("{:?}", sas.credentials.origin), "Sas(…)", "and not a key of another");
        assert_eq!(sas.credentials.sas().expect("a token").signature(), "hunter2%3D");
        let nobody = endpoint(&[]).expect_err("no account");
        assert!(nobody.contains("AZURE_STORAGE_ACCOUNT"), "{nobody}");
        let path = found_with(
            |settings| settings.endpoint = "http://127.0.0.1:10000/devstore/".into(),
            &[key],
        );
        assert_eq!(path.expect("found").endpoint, "http://127.0.0.1:10000/devstore");
        let named = found_with(|settings| settings.account = "ours".into(), &[key]).expect("found");
        assert_eq!(named.endpoint, "https://ours.blob.core.windows.net");
        assert!(named.credentials.key().is_some());
    }

    #[test]
    fn what_is_wrong_is_said_and_not_repeated() {
        let account = ("AZURE_STORAGE_ACCOUNT", "photos");
        for wrong in [
            ("AZURE_STORAGE_KEY", "hunter2!"),
            ("AZURE_STORAGE_SAS_TOKEN", "hunter2"),
            ("AZURE_STORAGE_SAS_TOKEN", "sv=1 &sig=hunter2"),
            ("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=hunter2\u{e4}"),
            ("AZURE_STORAGE_CONNECTION_STRING", "hunter2"),
            ("AZURE_STORAGE_CONNECTION_STRING", "AccountName=a;AccountKey=hunter2!"),
            ("AZURE_STORAGE_CONNECTION_STRING", "UseDevelopmentStorage=true"),
        ] {
            let error = found(&[account, wrong]).err().expect("refused");
            assert!(error.contains(wrong.0) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn tokens_say_when_they_end() {
        let ends = |text: &str| SasToken::parse(text).expect("a token").ended();
        assert!(ends("?se=2020-01-01T00%3A00%3A00Z&sig=x").is_some());
        assert!(ends("sig=x&se=2999-01-01T00:00:00Z").is_none());
        assert!(ends("si=policy&sig=x").is_none(), "a policy says it");
    }

    #[tokio::test]
    async fn a_machine_is_asked_for_a_token_which_is_kept() {
        let store = CannedStore::start([answer(200, TOKEN), error(500, "Down")]).await;
        let variables = [
            ("AZURE_STORAGE_ACCOUNT", "photos"),
            ("AZURE_POD_IDENTITY_AUTHORITY_HOST", store.url()),
            ("AZURE_CLIENT_ID", "id"),
        ];
        let credentials = found(&variables).expect("found").credentials;
        for _ in 0..3 {
            assert_eq!(bearer(credentials.get().await.expect("given")), "ey.J0");
        }
        let asked = store.asked();
        assert!(asked.len() == 1 && asked[0].has("metadata: true"), "{asked:?}");
        let line = "GET /metadata/identity/oauth2/token?api-version=2018-02-01&client_id=id&resource=https%3A%2F%2Fstorage.azure.com%2F ";
        assert!(asked[0].line().starts_with(line), "{asked:?}");
    }

    #[tokio::test]
    async fn a_pods_token_is_exchanged() {
        let given = TOKEN.replace("\"86399\"", "3599");
        let store = CannedStore::start([answer(200, given)]).await;
        let dir = tempfile::tempdir().expect("temp");
        let file = dir.path().join("token");
        std::fs::write(&file, "jwt\n").expect("written");
        let path = file.display().to_string();
        let variables = [
            ("AZURE_STORAGE_ACCOUNT", "photos"),
            ("AZURE_FEDERATED_TOKEN_FILE", path.as_str()),
            ("AZURE_CLIENT_ID", "id"),
            ("AZURE_TENANT_ID", "tenant"),
            ("AZURE_AUTHORITY_HOST", store.url()),
        ];
        let credentials = found(&variables).expect("found").credentials;
        assert_eq!(bearer(credentials.get().await.expect("given")), "ey.J0");
        assert!(store.asked()[0].line().starts_with("POST /tenant/oauth2/v2.0/token"));
    }

    #[tokio::test]
    async fn a_service_that_gives_nothing_says_so_without_its_words() {
        for nonsense in
            [answer(200, "{\"hunter2\":1}"), answer(400, "hunter2"), answer(200, "hunter2")]
        {
            let store = CannedStore::start([nonsense]).await;
            let variables = [
                ("AZURE_STORAGE_ACCOUNT", "photos"),
                ("AZURE_POD_IDENTITY_AUTHORITY_HOST", store.url()),
            ];
            let error = found(&variables).expect("found").credentials.get().await.err();
            let error = error.expect("nothing usable");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
