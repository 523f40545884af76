//! Percent-encoding and the query part of a request target.
//!
//! Spec: RFC 3986 section 2.1; WHATWG URL, application/x-www-form-urlencoded (as Go's net/url reads it).

use crate::base::{Error, Result};

/// The parameters of a query in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses what stands after `?`.
    ///
    /// # Errors
    /// `InvalidParameter` for broken escapes and for `;`, in Go's words.
    pub fn parse(text: &str) -> Result<Query> {
        let mut list = Vec::new();
        for pair in text.split('&').filter(|p| !p.is_empty()) {
            if pair.contains(';') {
                return Err(Error::invalid("invalid semicolon separator in query"));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            list.push((decode(name, true)?, decode(value, true)?));
        }
        Ok(Query(list))
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The first value of `name`, or the empty string.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// All values of `name`.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Docker's reading of a boolean: absent, empty, `0`, `no`, `false` and `none` are false.
    pub fn flag(&self, name: &str) -> bool {
        let value = self.text(name).trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// [`Query::flag`], or `default` if the parameter is absent.
    pub fn flag_or(&self, name: &str, default: bool) -> bool {
        if self.get(name).is_some() { self.flag(name) } else { default }
    }

    /// A decimal number; `None` if absent or empty.
    ///
    /// # Errors
    /// `InvalidParameter` that quotes the text.
    pub fn number(&self, name: &str) -> Result<Option<i64>> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Error::invalid(format_args!("invalid value for {name}: {text:?} is not a number"))
            }),
        }
    }
}

/// Undoes percent-encoding; `plus` is a space in queries only.
///
/// # Errors
/// `InvalidParameter` in Go's words for escapes that are not two hexadecimal digits, and for text that
/// is not UTF-8 afterwards.
pub fn decode(text: &str, plus: bool) -> Result<String> {
    let encoded = text.contains('%') || (plus && text.contains('+'));
    if !encoded {
        return Ok(text.to_string());
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'%' => {
                let two = bytes.get(i + 1..i + 3).unwrap_or(&bytes[i + 1..]);
                let value = std::str::from_utf8(two)
                    .ok()
                    .filter(|d| d.len() == 2 && d.bytes().all(|b| b.is_ascii_hexdigit()))
                    .and_then(|d| u8::from_str_radix(d, 16).ok());
                let Some(value) = value else {
                    let shown = format!("%{}", String::from_utf8_lossy(two));
                    return Err(Error::invalid(format_args!("invalid URL escape {shown:?}")));
                };
                out.push(value);
                i += 2;
            }
            b'+' if plus => out.push(b' '),
            b => out.push(b),
        }
        i += 1;
    }
    String::from_utf8(out).map_err(|_| Error::invalid("invalid UTF-8 in URL"))
}

/// Percent-encodes everything but unreserved characters, for one value of a query.
pub fn encode(text: &str) -> String {
    encode_except(text, b"-_.~")
}

/// Percent-encodes a path; slashes and colons stay, as they do in image names.
pub fn encode_path(text: &str) -> String {
    encode_except(text, b"-_.~/:@$&+,;=")
}

fn encode_except(text: &str, plain: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || plain.contains(&b) {
            out.push(char::from(b));
        } else {
            out.push('%');
            out.push_str(&crate::base::hex::encode(&[b]).to_ascii_uppercase());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_parameters_as_docker_does() {
        let q =
            Query::parse("all=1&size=False&filters=%7B%22a%22%3A%5B%5D%7D&n=a+b&n=c&&x").unwrap();
        assert!(q.flag("all") && !q.flag("size") && !q.flag("x") && q.flag_or("y", true));
        assert_eq!(q.text("filters"), r#"{"a":[]}"#);
        assert_eq!(q.all("n").collect::<Vec<_>>(), ["a b", "c"]);
        assert_eq!(Query::parse("t=5").unwrap().number("t").unwrap(), Some(5));
        assert!(Query::parse("t=x").unwrap().number("t").is_err());
    }

    #[test]
    fn broken_escapes_are_refused_in_gos_words() {
        let e = Query::parse("a=%zz").unwrap_err();
        assert_eq!(e.to_string(), r#"invalid URL escape "%zz""#);
        assert!(Query::parse("a=%4").is_err());
        assert!(Query::parse("a=1;b=2").is_err());
        assert!(decode("%ff", false).is_err());
    }

    #[test]
    fn encoding_is_undone_by_decoding() {
        for text in ["a b&c=d/é%", "registry:5000/x/y:tag@sha256:00"] {
            assert_eq!(decode(&encode(text), true).unwrap(), text);
            assert_eq!(decode(&encode_path(text), false).unwrap(), text);
        }
    }
}
