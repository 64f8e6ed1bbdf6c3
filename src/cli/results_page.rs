//! `search --open`: a page with the matches in the folder for temporary files. It holds the thumbnails itself, so it shows them
//! whether or not a server runs; each leads to the picture on this machine.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::api_client::Api;
use super::picture_paths::path_of;

const HEAD: &str = "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>\
<style>body{font:16px system-ui;margin:1.5rem;background:#fff;color:#222}@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}}\
ul{display:grid;grid-template-columns:repeat(auto-fill,minmax(12rem,1fr));gap:1rem;padding:0;list-style:none}\
img{width:100%;height:12rem;object-fit:contain}a{color:inherit;overflow-wrap:anywhere}</style>";
const PATH_ESCAPES: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Writes the page; returns where.
pub(super) async fn write(
    api: &Api,
    words: &str,
    answer: &Value,
    folders: &[PathBuf],
) -> anyhow::Result<PathBuf> {
    let title = escaped(if words.is_empty() { "Pictures like this" } else { words });
    let mut page = format!("{HEAD}<title>{title}</title><h1>{title}</h1><ul>");
    for found in answer["matches"].as_array().into_iter().flatten() {
        let name = found["image_name"].as_str().unwrap_or_default();
        let path = path_of(folders, name);
        let path = path.canonicalize().unwrap_or(path).display().to_string();
        let path = utf8_percent_encode(&path, PATH_ESCAPES);
        let thumbnail = found["thumbnail_url"].as_str().unwrap_or_default();
        // A picture that went meanwhile leaves its name.
        let image = match api.get(&format!("{thumbnail}&width=320")).await {
            Ok(reply) => format!(
                "<img alt='' src='data:{};base64,{}'>",
                escaped(&reply.media_type),
                BASE64.encode(&reply.bytes)
            ),
            Err(_) => String::new(),
        };
        write!(page, "<li><a href='file://{path}'>{image}<br>{}</a>", escaped(name))?;
    }
    page.push_str("</ul>\n");
    let path = std::env::temp_dir().join(format!("image-search-{}.html", uuid::Uuid::now_v7()));
    std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Opens it in the browser.
pub(super) fn open(page: &Path) -> anyhow::Result<()> {
    let own = std::env::var("BROWSER").ok().filter(|browser| !browser.is_empty());
    let usual = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let browser = own.as_deref().unwrap_or(usual);
    let status = Command::new(browser)
        .arg(page)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let opened = status.is_ok_and(|status| status.success());
    anyhow::ensure!(opened, "{browser} could not open the page; open it yourself, or set BROWSER");
    Ok(())
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_part_of_the_page() {
        assert_eq!(escaped("<a href='x'>\"&"), "&lt;a href=&#39;x&#39;&gt;&quot;&amp;");
    }
}
