//! `mcp`: a server of the Model Context Protocol over standard input and output, so that assistants can search, look at,
//! compare and rate pictures. Its tools ask the API: of the running server, or in this process.

use std::process::ExitCode;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rmcp::handler::server::common::schema_for_input;
use rmcp::handler::server::tool::parse_json_object;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::schemars::{self, JsonSchema};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api_client::{Api, Reply};
use crate::config::Config;

const SEARCH: &str = "/api/v1/search-image";
const INSTRUCTIONS: &str = "Pictures of this computer's user, searched by what is on them. Use `search` with a few words (`-word` excludes); \
`strength` says how surely a match is one, and a `strong_total` of 0 that nothing fits. `show` lets you look at a picture, \
`similar` finds others like it. With `rate` you can say how good an answer was, by the `jwt` that came with it.";
const PATH_ESCAPES: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const LIMIT_DEFAULT: u32 = 10;
/// Widths of thumbnails, of which assistants need no more.
const WIDTH_DEFAULT: u32 = 320;

pub(super) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let api = Arc::new(Box::pin(Api::open(config)).await?);
    let tools = Tools { api: api.clone() };
    let outcome = async {
        let session = tools.serve(rmcp::transport::stdio()).await?;
        anyhow::Ok(session.waiting().await?)
    };
    let ended = outcome.await;
    if let Some(api) = Arc::into_inner(api) {
        api.close().await;
    }
    ended?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Clone)]
struct Tools {
    api: Arc<Api>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SearchFor {
    /// What is on the pictures, in a few words. `-word` or `-"two words"` is not wanted.
    text: String,
    /// Most matches; 10 if missing.
    limit: Option<u32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ShowWhat {
    /// The `image_name` of a match.
    image_name: String,
    /// How wide, in pixels: 160, 320, 640 or 1280; 320 if missing.
    width: Option<u32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SimilarTo {
    /// The `image_name` of a match.
    image_name: String,
    /// Words that the other pictures should fit as well.
    text: Option<String>,
    /// Most matches; 10 if missing.
    limit: Option<u32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rating {
    /// The `jwt` of the answer that is rated.
    jwt: String,
    /// From 1 (useless) to 10 (perfect).
    user_feedback: u8,
}

/// What there is, by the names that [`Tools::call_tool`] knows.
fn tools() -> Result<Vec<Tool>, String> {
    Ok(vec![
        Tool::new(
            "search",
            "Find pictures by what is on them. Best first; the jwt of the answer is for `rate`.",
            schema_for_input::<SearchFor>()?,
        ),
        Tool::new(
            "similar",
            "Find pictures that look like one that is known by its name, perhaps with words that they should fit too.",
            schema_for_input::<SimilarTo>()?,
        ),
        Tool::new(
            "show",
            "Look at a picture: a small JPEG of it.",
            schema_for_input::<ShowWhat>()?,
        ),
        Tool::new(
            "rate",
            "Rate an answer of `search` or `similar` from 1 (useless) to 10 (perfect). The same jwt again changes the rating.",
            schema_for_input::<Rating>()?,
        ),
    ])
}

impl Tools {
    async fn search(&self, wanted: SearchFor) -> CallToolResult {
        let limit = wanted.limit.unwrap_or(LIMIT_DEFAULT);
        let body = json!({"text": wanted.text, "limit": limit, "strength": true, "collapse": true});
        told(self.api.post(SEARCH, &body).await.map(|answer| plain(&answer)))
    }

    async fn similar(&self, wanted: SimilarTo) -> CallToolResult {
        let limit = wanted.limit.unwrap_or(LIMIT_DEFAULT);
        let mut body = json!({"limit": limit, "strength": true, "collapse": true});
        match wanted.text {
            Some(text) => {
                body["queries"] = json!([{"image_name": wanted.image_name}, {"text": text}]);
            }
            None => body["image_name"] = wanted.image_name.into(),
        }
        told(self.api.post(SEARCH, &body).await.map(|answer| plain(&answer)))
    }

    async fn show(&self, wanted: ShowWhat) -> CallToolResult {
        let name = utf8_percent_encode(&wanted.image_name, PATH_ESCAPES);
        let width = wanted.width.unwrap_or(WIDTH_DEFAULT);
        let path = format!("/api/v1/images/{name}/thumbnail?width={width}");
        match self.api.get(&path).await {
            Ok(Reply { media_type, bytes, .. }) => {
                let image = ContentBlock::image(BASE64.encode(bytes), media_type);
                CallToolResult::success(vec![image])
            }
            Err(error) => failed(&error.context(format!("cannot show {}", wanted.image_name))),
        }
    }

    async fn rate(&self, rating: Rating) -> CallToolResult {
        let body = json!({"jwt": rating.jwt, "user_feedback": rating.user_feedback});
        told(self.api.post("/api/v1/create-feedback", &body).await)
    }
}

impl ServerHandler for Tools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("image-search", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = tools().map_err(|reason| ErrorData::internal_error(reason, None))?;
        Ok(ListToolsResult::with_all_items(tools))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let result = match &*request.name {
            "search" => self.search(parse_json_object(arguments)?).await,
            "similar" => self.similar(parse_json_object(arguments)?).await,
            "show" => self.show(parse_json_object(arguments)?).await,
            "rate" => self.rate(parse_json_object(arguments)?).await,
            unknown => {
                let what = format!("there is no tool {unknown}; tools/list names them");
                return Err(ErrorData::invalid_params(what, None));
            }
        };
        Ok(result.into())
    }
}

/// What an assistant needs of an answer; addresses mean nothing to it.
fn plain(answer: &Value) -> Value {
    let mut answer = answer.clone();
    let matches = answer["matches"].as_array_mut().into_iter().flatten();
    for found in matches {
        without_addresses(found);
        for near in
            found.get_mut("near_duplicates").and_then(Value::as_array_mut).into_iter().flatten()
        {
            without_addresses(near);
        }
    }
    answer
}

fn without_addresses(found: &mut Value) {
    if let Some(fields) = found.as_object_mut() {
        fields.retain(|field, _| !field.ends_with("_url"));
    }
}

fn told(outcome: anyhow::Result<Value>) -> CallToolResult {
    match outcome {
        Ok(value) => CallToolResult::structured(value),
        Err(error) => failed(&error),
    }
}

/// The tool's failure, not the protocol's: the assistant sees why.
fn failed(error: &anyhow::Error) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(format!("{error:#}"))])
}
