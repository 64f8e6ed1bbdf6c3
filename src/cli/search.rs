//! `search "words"`: a table of the best matches, their names or paths, the API's JSON, or a page in the browser. Goes through
//! the running server if there is one.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::api_client::{Api, Form};
use super::picture_paths::path_of;
use super::search_filter::FilterArgs;
use super::{picture_file, results_page, say, say_json, write_out};
use crate::config::Config;

const SEARCH: &str = "/api/v1/search-image";
const EXAMPLES: &str = "\
Examples:
  image-search search a dog on the beach
  image-search search dog --not cat                      the same as: search 'dog -cat'
  image-search search red --image ~/shirt.jpg            words and a picture together
  image-search search beach --folder holidays --after 2024-05-01 --before 2024-10-01
  image-search search sunset --paths -0 | xargs -0 cp -t /tmp/sunsets
  image-search search sunset --open                      look at them in the browser";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub(super) struct SearchArgs {
    /// What to look for; quotation marks are not needed
    #[arg(required_unless_present = "image")]
    words: Vec<String>,
    /// A picture file to look for things like it
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// What is not wanted; may be given several times
    #[arg(long, value_name = "WORDS")]
    not: Vec<String>,
    /// Most matches
    #[arg(long, default_value_t = 10)]
    limit: u32,
    /// Print JSON, as the API answers it
    #[arg(long, group = "form")]
    json: bool,
    /// Print nothing but the names of the pictures, one a line
    #[arg(long, group = "form")]
    names: bool,
    /// Print nothing but the paths of the pictures on this machine, one a line
    #[arg(long, group = "form")]
    paths: bool,
    /// Show the matches on a page in the browser
    #[arg(long, group = "form")]
    open: bool,
    /// With --names or --paths: end each with a NUL, for xargs -0
    #[arg(short = '0', long, conflicts_with_all = ["json", "open"])]
    null: bool,
    #[command(flatten)]
    only: FilterArgs,
}

pub(super) async fn run(config: Config, args: SearchArgs) -> anyhow::Result<ExitCode> {
    let words = args.words.join(" ").trim().to_owned();
    anyhow::ensure!(!words.is_empty() || args.image.is_some(), "say what to look for");
    anyhow::ensure!(!args.null || args.names || args.paths, "-0 goes with --names or --paths");
    let most = config.search.limit_max;
    anyhow::ensure!(
        (1..=most).contains(&args.limit),
        "--limit must be 1 to {most} (search.limit_max)"
    );
    let bytes_max = config.server.query_picture_bytes_max as u64;
    let read = |path| picture_file::read(path, bytes_max, "server.query_picture_bytes_max");
    let picture = args.image.as_deref().map(read).transpose()?;
    let api = Box::pin(Api::open(config)).await?;
    let shown = show(&api, &args, &words, picture).await;
    api.close().await;
    shown
}

async fn show(
    api: &Api,
    args: &SearchArgs,
    words: &str,
    picture: Option<Vec<u8>>,
) -> anyhow::Result<ExitCode> {
    let filter = args.only.of(api).await?;
    let is_limited = filter.is_some();
    let answer = ask(api, args, words, picture, filter).await?;
    let end = if args.null { '\0' } else { '\n' };
    if args.json {
        say_json(&serde_json::to_string_pretty(&answer)?);
    } else if args.names {
        print_each(names(&answer).map(str::to_owned), end);
    } else if args.paths {
        let folders = api.folders().await?;
        print_each(names(&answer).map(|name| path_of(&folders, name).display().to_string()), end);
    } else if args.open {
        let page = results_page::write(api, words, &answer, &api.folders().await?).await?;
        say(format_args!("The matches are in {}", page.display()));
        results_page::open(&page)?;
    } else {
        print_table(&answer, is_limited);
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(
    api: &Api,
    args: &SearchArgs,
    words: &str,
    picture: Option<Vec<u8>>,
    filter: Option<Value>,
) -> anyhow::Result<Value> {
    let text = with_unwanted(words, &args.not);
    match picture {
        None => {
            let mut body = json!({"text": text, "limit": args.limit, "strength": true});
            if let Some(filter) = filter {
                body["filter"] = filter;
            }
            api.post(SEARCH, &body).await
        }
        Some(picture) => {
            let mut form = Form::new()
                .field("image", &picture)
                .field("limit", args.limit.to_string().as_bytes())
                .field("strength", b"true");
            if let Some(filter) = filter {
                form = form.field("filter", filter.to_string().as_bytes());
            }
            if !text.is_empty() {
                form = form.field("text", text.as_bytes()).field("collapse", b"false");
            }
            api.post_form(SEARCH, form).await
        }
    }
}

/// As the API reads unwanted words out of a text.
fn with_unwanted(words: &str, unwanted: &[String]) -> String {
    let unwanted = unwanted.iter().map(|words| words.replace('"', " "));
    let unwanted = unwanted.map(|words| format!("not:\"{}\"", words.trim()));
    let wanted = Some(words.to_owned()).filter(|words| !words.is_empty());
    wanted.into_iter().chain(unwanted).collect::<Vec<_>>().join(" ")
}

fn matches(answer: &Value) -> &[Value] {
    answer["matches"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn names(answer: &Value) -> impl Iterator<Item = &str> {
    matches(answer).iter().filter_map(|found| found["image_name"].as_str())
}

fn print_each(texts: impl Iterator<Item = String>, end: char) {
    // Programs get the names as they are.
    if std::io::stdout().is_terminal() {
        return texts.for_each(say);
    }
    write_out(&texts.flat_map(|text| [text, end.to_string()]).collect::<String>());
}

fn print_table(answer: &Value, is_limited: bool) {
    if matches(answer).is_empty() {
        say(if is_limited {
            "No picture is left. Leave one of the options away that limit the search."
        } else {
            "Nothing is indexed yet. Run: image-search index --images DIR"
        });
    }
    for found in matches(answer) {
        let duplicates = found["other_names_total"].as_u64().unwrap_or_default();
        let note =
            if duplicates == 0 { String::new() } else { format!("  (and {duplicates} copies)") };
        let strength = found["strength"].as_str().map(|word| format!("{word:<8}"));
        say(format_args!(
            "{:.4}  {}{}{note}",
            found["score"].as_f64().unwrap_or_default(),
            strength.unwrap_or_default(),
            found["image_name"].as_str().unwrap_or_default()
        ));
    }
    if answer["strong_total"] == 0 && !matches(answer).is_empty() {
        say("None of these is a strong match.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unwanted_words_are_put_as_the_api_reads_them() {
        let unwanted = ["cat".to_owned(), "red \"car\"".to_owned()];
        assert_eq!(with_unwanted("dog", &unwanted), "dog not:\"cat\" not:\"red  car\"");
        assert_eq!(with_unwanted("dog -cat", &[]), "dog -cat");
    }
}
