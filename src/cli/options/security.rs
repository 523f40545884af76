//! `--security-opt`: profiles are read here, because only the client's host has the file.

use std::fs;

use crate::base::Error;
use crate::cli::template::Value;

/// What `--security-opt` values ask for.
#[derive(Debug, Default, PartialEq)]
pub struct Security {
    /// For the daemon, with the text of seccomp profiles.
    pub options: Vec<String>,
    /// Whether `systempaths=unconfined` was among them: nothing of /proc and /sys is masked then.
    pub bare_system_paths: bool,
}

/// Reads all values.
///
/// # Errors
/// Docker's texts.
pub fn parse(values: &[String]) -> Result<Security, String> {
    let mut out = Security::default();
    for text in values {
        let pair = match text.split_once('=') {
            None if text != "no-new-privileges" => text.split_once(':'),
            pair => pair,
        };
        let name = pair.map_or(text.as_str(), |(name, _)| name);
        let value = pair.map_or("", |(_, value)| value);
        if value.is_empty() && name != "no-new-privileges" {
            return Err(format!("Invalid --security-opt: {text:?}"));
        }
        match (name, value) {
            ("seccomp", "builtin" | "unconfined") => out.options.push(text.clone()),
            ("seccomp", file) => out.options.push(format!("seccomp={}", profile(file)?)),
            _ if text == "systempaths=unconfined" => out.bare_system_paths = true,
            _ => out.options.push(text.clone()),
        }
    }
    Ok(out)
}

fn profile(file: &str) -> Result<String, String> {
    let bytes = fs::read(file).map_err(|e| {
        let why = Error::from(e);
        format!("opening seccomp profile ({file}) failed: open {file}: {why}")
    })?;
    let value = Value::parse(&bytes)
        .map_err(|e| format!("compacting json for seccomp profile ({file}) failed: {e}"))?;
    Ok(value.to_json())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_sent_as_text() {
        let file = std::env::temp_dir().join(format!("multi-seccomp-{}", std::process::id()));
        fs::write(&file, "{\n \"defaultAction\": \"SCMP_ACT_ALLOW\" }").unwrap();
        let value = format!("seccomp={}", file.display());
        let got = parse(&[value, "no-new-privileges".into(), "systempaths=unconfined".into()]);
        fs::remove_file(&file).unwrap();
        let got = got.unwrap();
        assert_eq!(
            got.options,
            ["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}", "no-new-privileges"]
        );
        assert!(got.bare_system_paths);
    }

    #[test]
    fn wrong_options_are_refused_in_dockers_words() {
        assert_eq!(parse(&["x".into()]).unwrap_err(), "Invalid --security-opt: \"x\"");
        assert_eq!(
            parse(&["seccomp=/nonexistent".into()]).unwrap_err(),
            "opening seccomp profile (/nonexistent) failed: open /nonexistent: no such file or directory"
        );
        assert!(parse(&["label:disable".into()]).is_ok());
    }
}
