//! What is in force, written as `config/default.toml` with the values that later layers changed.

use config::{Value, ValueKind};

use super::DEFAULTS;

/// Keys whose values nobody prints.
const SECRETS: [&str; 3] = ["catalog.password", "uploads.api_key", "vector_store.api_key"];
const CHANGED: &str = "# changed: ";

/// The merged layers.
pub struct InForce(pub(super) config::Config);

impl InForce {
    /// The defaults with every changed value in place; a changed line says so. What is printed can be used as `--config`, but
    /// for secrets, which are left out.
    pub fn to_toml(&self) -> String {
        let mut section = String::new();
        let mut text = String::with_capacity(DEFAULTS.len());
        for line in DEFAULTS.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = format!("{name}.");
            }
            match line.split_once(" = ").filter(|_| !line.starts_with('#')) {
                Some((key, rest)) => {
                    text.push_str(&self.line(&format!("{section}{key}"), key, rest));
                }
                None => text.push_str(line),
            }
            text.push('\n');
        }
        text
    }

    fn line(&self, path: &str, key: &str, rest: &str) -> String {
        let (default, comment) = split_comment(rest);
        let Ok(value) = self.0.get::<Value>(path) else { return format!("{key} = {rest}") };
        let value = in_toml(&value);
        if value == normal(default) {
            return format!("{key} = {rest}");
        }
        let comment = comment.trim_start_matches('#').trim_start();
        if SECRETS.contains(&path) {
            return format!("{key} = {default}  {CHANGED}set, and not shown; {comment}");
        }
        format!("{key} = {value}  {CHANGED}was {}; {comment}", default.trim())
    }
}

/// The value of a line, and its comment. A `#` in quotation marks begins none.
fn split_comment(rest: &str) -> (&str, &str) {
    let mut is_quoted = false;
    for (place, letter) in rest.char_indices() {
        match letter {
            '"' => is_quoted = !is_quoted,
            '#' if !is_quoted => return (rest[..place].trim_end(), &rest[place..]),
            _ => {}
        }
    }
    (rest.trim_end(), "")
}

/// A default as it would be printed.
fn normal(default: &str) -> String {
    let line = format!("key = {default}");
    let file = config::File::from_str(&line, config::FileFormat::Toml);
    let parsed = config::Config::builder().add_source(file).build();
    parsed
        .and_then(|parsed| parsed.get::<Value>("key"))
        .map_or_else(|_| default.to_owned(), |value| in_toml(&value))
}

fn in_toml(value: &Value) -> String {
    match &value.kind {
        ValueKind::Array(values) => {
            let values: Vec<String> = values.iter().map(in_toml).collect();
            format!("[{}]", values.join(", "))
        }
        ValueKind::String(text) => {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{}\"", escaped.replace('\n', "\\n"))
        }
        ValueKind::Float(number) => format!("{number:?}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Overrides};
    use super::*;

    fn in_force(environment: &[(&str, &str)], flags: Overrides) -> String {
        let environment =
            environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let (_, in_force) = Config::load_with_layers(None, environment, flags).expect("valid");
        in_force.to_toml()
    }

    #[test]
    fn unchanged_it_is_the_defaults() {
        assert_eq!(in_force(&[], vec![]), DEFAULTS);
    }

    #[test]
    fn changed_values_are_in_place_marked_and_readable_again() {
        let environment =
            [("IMAGE_SEARCH_SERVER__PORT", "8080"), ("IMAGE_SEARCH_IMAGES", "a,b \"c\"")];
        let text = in_force(&environment, vec![("log.level", "debug".into())]);
        for line in [
            "port = 8080  # changed: was 3000; ",
            "images = [\"a\", \"b \\\"c\\\"\"]  # changed: was [\"images\"]; ",
            "level = \"debug\"  # changed: was \"info\"; or \"debug\"",
        ] {
            assert!(text.lines().any(|found| found.starts_with(line)), "no {line} in {text}");
        }
        let dir = tempfile::tempdir().expect("temp");
        let path = dir.path().join("config.toml");
        std::fs::write(&path, &text).expect("written");
        let again = Config::load(Some(&path), [], vec![]).expect("it is a configuration");
        assert_eq!((again.server.port, again.images.len()), (8080, 2));
    }

    #[test]
    fn secrets_are_not_shown() {
        let environment = [("IMAGE_SEARCH_UPLOADS__API_KEY", "hunter2")];
        let text = in_force(&environment, vec![]);
        assert!(!text.contains("hunter2") && text.contains("not shown"), "{text}");
    }

    #[test]
    fn every_key_that_holds_a_secret_is_known() {
        let words = ["api_key =", "password =", "token ="];
        let secret = |line: &&str| words.iter().any(|word| line.starts_with(word));
        assert_eq!(DEFAULTS.lines().filter(secret).count(), SECRETS.len());
    }
}
