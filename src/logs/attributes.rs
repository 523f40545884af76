//! Extra attributes of log lines: labels and environment variables of the container, and a tag.
//!
//! The tag is a template. Fields of the container are understood (`{{.ID}}`, `{{.Name}}`, ...); the rest of Go's
//! template language is refused when the container is created, not passed over.
//!
//! Spec: Docker documentation "Log tags", and the options of the json-file driver.

use std::collections::BTreeMap;

use crate::base::{Error, Result, id};

use super::pattern::Pattern;

/// What a tag may show of a container.
#[derive(Clone, Debug, Default)]
pub struct TagInfo<'a> {
    /// Whole id of the container.
    pub id: &'a str,
    /// Its name, with or without the slash.
    pub name: &'a str,
    /// Whole id of the image.
    pub image_id: &'a str,
    /// The image as the user named it.
    pub image_name: &'a str,
    /// Entrypoint and arguments.
    pub command: &'a str,
}

/// The attributes that `options` (`labels`, `labels-regex`, `env`, `env-regex`, `tag`) choose. `env` holds `KEY=value`.
///
/// # Errors
/// `InvalidParameter` for a pattern or a tag that cannot be read.
pub fn attributes(
    options: &BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
    env: &[String],
    tag: &TagInfo<'_>,
) -> Result<BTreeMap<String, String>> {
    let option = |key: &str| options.get(key).map(String::as_str).filter(|v| !v.is_empty());
    let env: BTreeMap<String, String> = env
        .iter()
        .filter_map(|entry| entry.split_once('='))
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect();
    let mut attrs = BTreeMap::new();
    for (names, pattern, source) in [("labels", "labels-regex", labels), ("env", "env-regex", &env)]
    {
        for name in option(names).into_iter().flat_map(|names| names.split(',')) {
            if let Some(value) = source.get(name) {
                attrs.insert(name.to_string(), value.clone());
            }
        }
        if let Some(pattern) = option(pattern) {
            let pattern = Pattern::parse(pattern)?;
            let chosen = source.iter().filter(|(name, _)| pattern.matches(name));
            attrs.extend(chosen.map(|(name, value)| (name.clone(), value.clone())));
        }
    }
    if let Some(template) = option("tag") {
        let text = expand(template, tag)?;
        if !text.is_empty() {
            attrs.insert("tag".into(), text);
        }
    }
    Ok(attrs)
}

/// Whether the template of a tag can be read.
///
/// # Errors
/// `InvalidParameter` that quotes the part that cannot.
pub(super) fn check_tag(template: &str) -> Result<()> {
    expand(template, &TagInfo::default()).map(drop)
}

fn expand(template: &str, info: &TagInfo<'_>) -> Result<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let (action, after) = after
            .split_once("}}")
            .ok_or_else(|| Error::invalid("template: log-tag:1: unclosed action"))?;
        rest = after;
        out.push_str(match action.trim() {
            ".ID" => id::short(info.id),
            ".FullID" => info.id,
            ".Name" => info.name.trim_start_matches('/'),
            ".ImageID" => id::short(info.image_id),
            ".ImageFullID" => info.image_id,
            ".ImageName" => info.image_name,
            ".DaemonName" => "docker",
            ".Command" => info.command,
            action => {
                return Err(Error::invalid(format_args!(
                    "invalid log tag: \"{{{{{action}}}}}\" is not supported, use {{{{.ID}}}}, \
                     {{{{.FullID}}}}, {{{{.Name}}}}, {{{{.ImageID}}}}, {{{{.ImageFullID}}}}, \
                     {{{{.ImageName}}}}, {{{{.DaemonName}}}} or {{{{.Command}}}}"
                )));
            }
        });
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn labels_environment_and_tag_are_chosen() {
        let info = TagInfo { id: "0123456789abcdef", name: "/web", ..TagInfo::default() };
        let labels = map(&[("a", "1"), ("b", "2"), ("com.x", "3")]);
        let env = ["OS=linux".to_string(), "X_Y=z=w".to_string()];
        let options = map(&[
            ("labels", "a,missing"),
            ("labels-regex", "^com\\."),
            ("env-regex", "^X_"),
            ("tag", "{{.Name}}/{{ .ID }}"),
            ("max-size", "1m"),
        ]);
        let attrs = attributes(&options, &labels, &env, &info).unwrap();
        let expected =
            map(&[("a", "1"), ("com.x", "3"), ("X_Y", "z=w"), ("tag", "web/0123456789ab")]);
        assert_eq!(attrs, expected);
    }

    #[test]
    fn templates_that_cannot_be_followed_are_refused() {
        assert!(check_tag("plain {{.Name}}").is_ok());
        for bad in ["{{.Name", "{{range .}}", "{{.Secret}}"] {
            assert!(check_tag(bad).is_err(), "{bad}");
        }
    }
}
