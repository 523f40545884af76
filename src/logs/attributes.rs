//! What the options of a container's log choose of it: labels, environment variables, and the tag.
//!
//! The tag is a Go template over the container. Docker finds out at the start of a container whether it can be
//! followed, and so it is here.
//!
//! Spec: Docker documentation "Customize log driver output"; moby `daemon/logger/loginfo.go`.

use std::collections::BTreeMap;

use crate::base::regexp::Pattern;
use crate::base::template::{Object, Template, Value};
use crate::base::time::Timestamp;
use crate::base::{Error, Result, id};

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
    /// Its program.
    pub entrypoint: &'a str,
    /// The program's arguments.
    pub args: &'a [String],
    /// When it was made.
    pub created: Timestamp,
    /// `KEY=value`.
    pub env: &'a [String],
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The options of its log.
    pub config: BTreeMap<String, String>,
}

impl TagInfo<'_> {
    /// Entrypoint and arguments.
    pub fn command(&self) -> String {
        let words: Vec<&str> =
            std::iter::once(self.entrypoint).chain(self.args.iter().map(String::as_str)).collect();
        words.join(" ")
    }

    /// The value that templates see: the fields of Docker's `logger.Info`, and its methods.
    fn value(&self) -> Value {
        let list = |words: &[String]| words.iter().map(|w| Value::from(w.as_str())).collect();
        let map = |map: &BTreeMap<String, String>| {
            let mut object = Object::default();
            map.iter().for_each(|(key, value)| object.push(key.as_str(), value.as_str()));
            Value::from(object)
        };
        let mut info = Object::typed("*logger.Info");
        info.push("Config", map(&self.config));
        info.push("ContainerID", self.id);
        info.push("ContainerName", self.name);
        info.push("ContainerEntrypoint", self.entrypoint);
        info.push("ContainerArgs", Value::List(list(self.args)));
        info.push("ContainerImageID", self.image_id);
        info.push("ContainerImageName", self.image_name);
        info.push("ContainerCreated", self.created.to_string());
        info.push("ContainerEnv", Value::List(list(self.env)));
        info.push("ContainerLabels", map(&self.labels));
        info.push("LogPath", "");
        info.push("DaemonName", "docker");
        info.push_alias("ID", id::short(self.id));
        info.push_alias("FullID", self.id);
        info.push_alias("Name", self.name.trim_start_matches('/'));
        info.push_alias("ImageID", id::short(self.image_id));
        info.push_alias("ImageFullID", self.image_id);
        info.push_alias("ImageName", self.image_name);
        info.push_alias("Command", self.command());
        info.push_alias("Hostname", host_name());
        info.into()
    }

    /// The labels and variables that `labels`, `labels-regex`, `env` and `env-regex` choose.
    ///
    /// # Errors
    /// `InvalidParameter` for a pattern that cannot be read.
    pub fn attributes(&self) -> Result<BTreeMap<String, String>> {
        let option = |key: &str| self.config.get(key).map(String::as_str).filter(|v| !v.is_empty());
        let env: BTreeMap<String, String> = self
            .env
            .iter()
            .filter_map(|entry| entry.split_once('='))
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        let mut attrs = BTreeMap::new();
        let sources = [("labels", "labels-regex", &self.labels), ("env", "env-regex", &env)];
        for (names, pattern, source) in sources {
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
        Ok(attrs)
    }

    /// The text of the tag; `default` is the template where the user gave none.
    ///
    /// # Errors
    /// `InvalidParameter` with Go's text for a template that cannot be followed.
    pub fn tag(&self, default: &str) -> Result<String> {
        let template = self.config.get("tag").map(String::as_str).filter(|t| !t.is_empty());
        let template = template.unwrap_or(default);
        // Most have no action at all, or the one of the default.
        if !template.contains("{{") {
            return Ok(template.to_string());
        }
        if template == "{{.ID}}" {
            return Ok(id::short(self.id).to_string());
        }
        let parsed = Template::parse_named("log-tag", template).map_err(|e| {
            let text = e.message();
            Error::invalid(text.strip_prefix("template parsing error: ").unwrap_or(text))
        })?;
        let mut out = String::new();
        parsed.execute(&self.value(), &mut out)?;
        Ok(out)
    }
}

/// The name of this host, as the senders of logs give it.
pub(super) fn host_name() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn labels_and_environment_are_chosen() {
        let env = ["OS=linux".to_string(), "X_Y=z=w".to_string()];
        let config = map(&[
            ("labels", "a,missing"),
            ("labels-regex", "^com\\."),
            ("env-regex", "^X_"),
            ("max-size", "1m"),
        ]);
        let labels = map(&[("a", "1"), ("b", "2"), ("com.x", "3")]);
        let info = TagInfo { env: &env, labels, config, ..TagInfo::default() };
        let expected = map(&[("a", "1"), ("com.x", "3"), ("X_Y", "z=w")]);
        assert_eq!(info.attributes().unwrap(), expected);
    }

    #[test]
    fn tags_are_go_templates_over_the_container() {
        let args = ["-c".to_string(), "true".to_string()];
        let env = ["A=b".to_string()];
        let tag = |template: &str| {
            TagInfo {
                id: "0123456789abcdef",
                name: "/web",
                image_id: "sha256:fedcba9876543210",
                image_name: "busybox:1",
                entrypoint: "sh",
                args: &args,
                env: &env,
                labels: map(&[("k", "v")]),
                config: map(&[("tag", template)]),
                ..TagInfo::default()
            }
            .tag("{{.ID}}")
        };
        for (template, expected) in [
            ("", "0123456789ab"),
            ("plain", "plain"),
            ("{{.Name}}/{{ .ID }}", "web/0123456789ab"),
            (
                "{{.FullID}} {{.ImageID}} {{.ImageFullID}}",
                "0123456789abcdef fedcba987654 sha256:fedcba9876543210",
            ),
            ("{{.ImageName}}|{{.Command}}|{{.DaemonName}}", "busybox:1|sh -c true|docker"),
            ("{{if .ContainerEnv}}{{index .ContainerEnv 0}}{{end}}", "A=b"),
            ("{{index .ContainerLabels \"k\"}} {{upper .Name}}", "v WEB"),
            ("{{(index (split .ImageName \":\") 0)}}", "busybox"),
        ] {
            assert_eq!(tag(template).unwrap(), expected, "{template}");
        }
        assert_eq!(tag("{{.Hostname}}").unwrap(), host_name());
        for (bad, text) in [
            ("{{.Name", "template: log-tag:1: unclosed action"),
            (
                "{{.Secret}}",
                "template: log-tag:1:2: executing \"log-tag\" at <.Secret>: can't evaluate field \
                 Secret in type *logger.Info",
            ),
        ] {
            assert_eq!(tag(bad).unwrap_err().to_string(), text);
        }
    }
}
