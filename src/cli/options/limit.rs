//! `--ulimit` and `--restart`.

use crate::api::types::host::{RestartPolicy, Ulimit};

const NAMES: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `--ulimit name=soft[:hard]`.
///
/// # Errors
/// Docker's texts.
pub fn ulimit(text: &str) -> Result<Ulimit, String> {
    let (name, values) =
        text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !NAMES.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let number = |text: &str| -> Result<i64, String> {
        text.parse().map_err(|e: std::num::ParseIntError| {
            let why = match e.kind() {
                std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                    "value out of range"
                }
                _ => "invalid syntax",
            };
            format!("strconv.ParseInt: parsing {text:?}: {why}")
        })
    };
    let (soft, hard) = match values.split(':').collect::<Vec<_>>()[..] {
        [one] => (number(one)?, number(one)?),
        [soft, hard] => (number(soft)?, number(hard)?),
        _ => {
            return Err(format!(
                "too many limit value arguments - {values}, can only have up to two, `soft[:hard]`"
            ));
        }
    };
    let order = "ulimit soft limit must be less than or equal to hard limit";
    if hard != -1 && soft == -1 {
        return Err(format!("{order}: soft: -1 (unlimited), hard: {hard}"));
    }
    if hard != -1 && soft > hard {
        return Err(format!("{order}: {soft} > {hard}"));
    }
    Ok(Ulimit { name: name.into(), hard, soft })
}

/// `--restart no|always|unless-stopped|on-failure[:max]`; the daemon checks the name.
///
/// # Errors
/// Docker's texts.
pub fn restart_policy(text: &str) -> Result<RestartPolicy, String> {
    let (name, count) = text.split_once(':').unwrap_or((text, ""));
    if name.is_empty() && text.contains(':') {
        return Err("invalid restart policy format: no policy provided before colon".into());
    }
    let maximum_retry_count = match count {
        "" => 0,
        count => count.parse().map_err(|_| {
            "invalid restart policy format: maximum retry count must be an integer".to_string()
        })?,
    };
    Ok(RestartPolicy { name: name.into(), maximum_retry_count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_one_or_two_numbers() {
        let got = ulimit("nofile=1024:2048").unwrap();
        assert_eq!((got.soft, got.hard), (1024, 2048));
        assert_eq!(ulimit("nofile=-1").unwrap().hard, -1);
        for (text, want) in [
            ("nofile", "invalid ulimit argument: nofile"),
            ("x=1", "invalid ulimit type: x"),
            ("nofile=x", "strconv.ParseInt: parsing \"x\": invalid syntax"),
            ("nofile=2:1", "ulimit soft limit must be less than or equal to hard limit: 2 > 1"),
            (
                "nofile=1:2:3",
                "too many limit value arguments - 1:2:3, can only have up to two, `soft[:hard]`",
            ),
        ] {
            assert_eq!(ulimit(text).unwrap_err(), want);
        }
    }

    #[test]
    fn restart_policies_may_have_a_count() {
        assert_eq!(restart_policy("on-failure:3").unwrap().maximum_retry_count, 3);
        assert_eq!(restart_policy("always").unwrap().name, "always");
        assert_eq!(
            restart_policy("on-failure:x").unwrap_err(),
            "invalid restart policy format: maximum retry count must be an integer"
        );
        assert_eq!(
            restart_policy(":1").unwrap_err(),
            "invalid restart policy format: no policy provided before colon"
        );
    }

    #[test]
    fn ulimits_are_read_and_refused_as_docker_does() {
        assert_eq!(
            ulimit("nofile=1024:2048"),
            Ok(Ulimit { name: "nofile".into(), soft: 1024, hard: 2048 })
        );
        assert_eq!(ulimit("core=-1"), Ok(Ulimit { name: "core".into(), soft: -1, hard: -1 }));
        for (text, error) in [
            ("x", "invalid ulimit argument: x"),
            ("noproc=1", "invalid ulimit type: noproc"),
            ("core=2:1", "ulimit soft limit must be less than or equal to hard limit: 2 > 1"),
            ("core=a", "strconv.ParseInt: parsing \"a\": invalid syntax"),
        ] {
            assert_eq!(ulimit(text).unwrap_err(), error);
        }
        assert!(ulimit("core=1:2:3").unwrap_err().starts_with("too many limit value"));
    }
}
