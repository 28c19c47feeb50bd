//! Config files: TOML whose keys are the names of the flags of `fanfare serve`.
//!
//! Every complaint begins with file and line, so that an editor can jump there. A key nobody knows is refused, because
//! a mistyped limit that is silently ignored is found out too late.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use clap::{Args as _, Command};
use toml::de::DeTable;

use super::Options;

/// Reads the file at `path`.
///
/// # Errors
/// It cannot be read, is no TOML, holds a key that is no flag, or a value of the wrong kind.
pub(super) fn read(path: &Path) -> anyhow::Result<Options> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).with_context(|| format!("{name}: it cannot be read"))?;
    parse(&name, &text)
}

fn parse(name: &str, text: &str) -> anyhow::Result<Options> {
    let located = |error: &toml::de::Error, key: &str| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        anyhow!(
            "{name}:{line}: {key}{}",
            error.message().trim_end().replace('\n', " ")
        )
    };
    let document = DeTable::parse(text).map_err(|error| located(&error, ""))?;
    let table = document.get_ref();
    let keys = keys();
    for key in table.keys() {
        if !keys.iter().any(|known| known == key.get_ref()) {
            let line = line_of(text, key.span().start);
            return Err(anyhow!("{name}:{line}: {}", unknown(key.get_ref(), &keys)));
        }
    }
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let at = error.span().unwrap_or_default().start;
        let entry = table.iter().find(|(_, value)| value.span().contains(&at));
        located(
            &error,
            &entry
                .map(|(key, _)| format!("{}: ", key.get_ref()))
                .unwrap_or_default(),
        )
    })
}

/// The names of all flags that are keys.
pub(super) fn keys() -> Vec<String> {
    let command = Options::augment_args(Command::new("serve"));
    command
        .get_arguments()
        .filter_map(|arg| arg.get_long())
        .map(String::from)
        .collect()
}

fn unknown(key: &str, keys: &[String]) -> String {
    /// Below this similarity (Jaro and Winkler, 0 to 1) a proposal is noise.
    const SIMILAR: f64 = 0.7;
    let nearest = keys
        .iter()
        .map(|known| (strsim::jaro_winkler(key, known), known))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(similarity, _)| *similarity >= SIMILAR);
    match nearest {
        Some((_, known)) => format!("unknown key {key:?}; did you mean {known:?}?"),
        None => format!(
            "unknown key {key:?}; keys are the flags of `fanfare serve` without their dashes"
        ),
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())]
        .iter()
        .filter(|b| **b == b'\n')
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::quantity::{Bytes, Millis};

    #[test]
    fn a_file_sets_what_its_keys_name() {
        let text = "listen = [\"0.0.0.0:80\", \"[::]:80\"]\nmax-frame-bytes = \"8k\"\nidle-timeout = \"2m\"\nloop = true\nspeed = 2.5\nroute = \"/a=/raw\"\n";
        let options = parse("x.toml", text).unwrap();
        assert_eq!(options.listen.len(), 2);
        assert_eq!(options.max_frame_bytes, Some(Bytes(8192)));
        assert_eq!(options.idle_timeout, Some(Millis(120_000)));
        assert_eq!((options.repeat, options.speed), (Some(true), Some(2.5)));
        assert_eq!(options.route, ["/a=/raw"]);
        assert_eq!(parse("x.toml", "").unwrap(), Options::default());
    }

    #[test]
    fn history_is_a_text_or_a_table() {
        let told = |text| parse("x.toml", text).map(|options| options.history);
        let tables = told(
            "[[history]]\ntopics = \"px.>\"\ncount = 100\nbytes = \"1m\"\nage = \"5m\"\n[[history]]\ntopics = \"*\"\ncount = 1\n",
        );
        let texts = told("history = [\"px.>,count=100,bytes=1m,age=5m\", \"*,count=1\"]\n");
        assert_eq!(tables.unwrap(), texts.unwrap());
        let error = told("[[history]]\ntopics = \"px.>\"\nnumber = 5\n").unwrap_err();
        assert!(format!("{error:#}").contains("unknown field `number`"));
    }

    #[test]
    fn a_history_rule_that_is_none_is_complained_about() {
        let error = parse("x.toml", "history = \"px..a,count=1\"").unwrap_err();
        let expected = "x.toml:1: history: history of \"px..a\": empty segment";
        assert_eq!(format!("{error:#}"), expected);
    }

    #[test]
    fn a_complaint_names_file_line_and_what_to_do() {
        for (text, expected) in [
            (
                "echo = true\nmax-conections = 5\n",
                "x.toml:2: unknown key \"max-conections\"; did you mean \"max-connections\"?",
            ),
            (
                "\nmax_frame_bytes = 5",
                "x.toml:2: unknown key \"max_frame_bytes\"; did you mean \"max-frame-bytes\"?",
            ),
            (
                "[weather]\n",
                "x.toml:1: unknown key \"weather\"; keys are the flags of `fanfare serve` without their dashes",
            ),
            ("config = \"y\"", "x.toml:1: unknown key \"config\""),
            (
                "\n\nping-interval = 30\n",
                "x.toml:3: ping-interval: invalid type: integer `30`, expected a duration in quotes",
            ),
            (
                "ping-interval = \"30 apples\"\n",
                "x.toml:1: ping-interval: a duration is a whole number with a unit",
            ),
            (
                "echo = \"yes\"",
                "x.toml:1: echo: invalid type: string \"yes\", expected a boolean",
            ),
            (
                "listen = [\"localhost:1\"]",
                "x.toml:1: listen: invalid socket address syntax",
            ),
            (
                "listen = 9001",
                "x.toml:1: listen: invalid type: integer `9001`, expected text in quotes or a list",
            ),
            (
                "backlog = -1",
                "x.toml:1: backlog: invalid value: integer `-1`, expected u32",
            ),
            (
                "log-format = \"xml\"",
                "x.toml:1: log-format: unknown variant `xml`, expected `text` or `json`",
            ),
            (
                "shards = 0",
                "x.toml:1: shards: invalid type: integer `0`, expected \"auto\" or a whole number above zero",
            ),
            ("echo = true\necho = false\n", "x.toml:2: duplicate key"),
            ("echo == true\n", "x.toml:1: "),
        ] {
            let error = format!("{:#}", parse("x.toml", text).expect_err(text));
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
