//! `search "words"`: a table of the best matches, or the API's JSON. Goes through the running server if there is one.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::{remote, say, write_out};
use crate::app::App;
use crate::config::Config;
use crate::data_dir::running_server;
use crate::search::{Query, Window};

#[derive(Args)]
pub(super) struct SearchArgs {
    /// What to look for; quotation marks are not needed
    #[arg(required = true)]
    words: Vec<String>,
    /// Most matches
    #[arg(long, default_value_t = 10)]
    limit: u32,
    /// Print JSON, as the API answers it
    #[arg(long, conflicts_with_all = ["names", "null"])]
    json: bool,
    /// Print nothing but the names of the pictures, one a line
    #[arg(long)]
    names: bool,
    /// With --names: end each name with a NUL, for xargs -0
    #[arg(short = '0', long, requires = "names")]
    null: bool,
}

impl SearchArgs {
    fn text(&self) -> String {
        self.words.join(" ").trim().to_owned()
    }
}

pub(super) async fn run(config: Config, args: SearchArgs) -> anyhow::Result<ExitCode> {
    let answer = match running_server(&config.data_dir) {
        Some(server) => {
            remote::ask(
                &server,
                "/api/v1/search-image",
                Some(&json!({"text": args.text(), "limit": args.limit})),
            )
            .await?
        }
        None => search_here(config, &args).await?,
    };
    if args.json {
        say(serde_json::to_string_pretty(&answer)?);
    } else if args.names {
        print_names(&answer, if args.null { '\0' } else { '\n' });
    } else {
        print_table(&answer);
    }
    Ok(ExitCode::SUCCESS)
}

async fn search_here(config: Config, args: &SearchArgs) -> anyhow::Result<Value> {
    let text = args.text();
    anyhow::ensure!(!text.is_empty(), "say what to look for");
    let app = App::open(config).await?;
    let answer = async {
        app.serving.only_answer().await?;
        let window = Window { limit: args.limit, offset: 0 };
        anyhow::Ok(app.searcher.search(Query::Text(text.clone()), window).await?)
    };
    let answer = answer.await;
    app.shut_down().await;
    let answer = answer?;
    let matches: Vec<Value> = answer
        .matches
        .iter()
        .map(|found| json!({"image_name": found.image_name, "score": found.score, "width": found.width, "height": found.height, "other_names": found.other_names, "other_names_total": found.other_names_total}))
        .collect();
    Ok(
        json!({"text": text, "model_name": answer.model_name, "matches": matches, "jwt": answer.jwt}),
    )
}

fn print_names(answer: &Value, end: char) {
    let matches = answer["matches"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names: String = matches
        .iter()
        .filter_map(|found| found["image_name"].as_str())
        .flat_map(|name| [name.to_owned(), end.to_string()])
        .collect();
    write_out(&names);
}

fn print_table(answer: &Value) {
    let matches = answer["matches"].as_array().map(Vec::as_slice).unwrap_or_default();
    if matches.is_empty() {
        say("Nothing is indexed yet. Run: image-search index --images DIR");
    }
    for found in matches {
        let duplicates = found["other_names_total"].as_u64().unwrap_or_default();
        let note =
            if duplicates == 0 { String::new() } else { format!("  (and {duplicates} copies)") };
        say(format_args!(
            "{:.4}  {}{note}",
            found["score"].as_f64().unwrap_or_default(),
            found["image_name"].as_str().unwrap_or_default()
        ));
    }
}
