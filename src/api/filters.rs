//! The `filters` parameter: `{"name":{"value":true}}`, or the older `{"name":["value"]}`.
//!
//! Spec: Docker Engine API 1.51, filters of the list calls.

use std::collections::BTreeMap;

use crate::base::json::{self, Value};
use crate::base::{Error, Result};

/// The values of each name.
pub type Filters = BTreeMap<String, Vec<String>>;

/// Reads the parameter; the empty text is no filter.
///
/// # Errors
/// `InvalidParameter` with Docker's text for anything but the two forms.
pub fn parse(text: &str) -> Result<Filters> {
    if text.is_empty() {
        return Ok(Filters::new());
    }
    let bad = || Error::invalid("invalid filter");
    let Ok(Value::Object(object)) = json::parse::<Value>(text.as_bytes()) else {
        return Err(bad());
    };
    object
        .iter()
        .map(|(name, values)| {
            let values = match values {
                // A value that is false is there all the same: Docker looks at the keys only.
                Value::Object(set) => set
                    .iter()
                    .map(|(value, flag)| match flag {
                        Value::Bool(_) => Ok(value.clone()),
                        _ => Err(bad()),
                    })
                    .collect::<Result<_>>()?,
                Value::Array(list) => list
                    .iter()
                    .map(|value| match value {
                        Value::String(text) => Ok(text.clone()),
                        _ => Err(bad()),
                    })
                    .collect::<Result<_>>()?,
                Value::Null => Vec::new(),
                _ => return Err(bad()),
            };
            Ok((name.clone(), values))
        })
        .collect()
}

/// Checks that every name is one of `known`.
///
/// # Errors
/// `InvalidParameter` with Docker's text.
pub fn require_known(filters: &Filters, known: &[&str]) -> Result<()> {
    match filters.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(Error::invalid(format_args!("invalid filter '{name}'"))),
        None => Ok(()),
    }
}

/// The boolean value of `name`; `None` if it is not there.
///
/// # Errors
/// `InvalidParameter` with Docker's text for other and for contradicting values.
pub fn flag(filters: &Filters, name: &str) -> Result<Option<bool>> {
    let Some(values) = filters.get(name) else { return Ok(None) };
    let has = |texts: [&str; 2]| values.iter().any(|v| texts.contains(&v.as_str()));
    match (has(["1", "true"]), has(["0", "false"])) {
        (true, false) => Ok(Some(true)),
        (false, true) => Ok(Some(false)),
        _ => {
            let shown = values.join(" ");
            Err(Error::invalid(format_args!("invalid filter '{name}=[{shown}]'")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let new = parse(r#"{"label":{"a":true,"b=c":true},"dangling":{"1":true}}"#).unwrap();
        let old = parse(r#"{"label":["a","b=c"],"dangling":["1"]}"#).unwrap();
        assert_eq!(new, old);
        assert_eq!(flag(&new, "dangling").unwrap(), Some(true));
        assert_eq!(flag(&new, "x").unwrap(), None);
        assert!(parse("").unwrap().is_empty() && parse("{}").unwrap().is_empty());
    }

    #[test]
    fn other_forms_are_refused() {
        for bad in ["x", "[]", "1", r#"{"a":"b"}"#, r#"{"a":[1]}"#, r#"{"a":{"b":1}}"#] {
            assert_eq!(parse(bad).unwrap_err().to_string(), "invalid filter", "{bad}");
        }
        let filters = parse(r#"{"dangling":["maybe"]}"#).unwrap();
        assert!(flag(&filters, "dangling").is_err());
        assert!(require_known(&filters, &["label"]).is_err());
    }
}
