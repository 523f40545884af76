//! Names of images: `[domain/]path[:tag][@digest]`, with Docker's short forms.
//!
//! What a user types is *familiar* (`debian`, `user/app:1`); what is stored and sent is *normalised*
//! (`docker.io/library/debian:latest`). The first component is a domain only if it has a dot or a
//! colon, is `localhost`, or has capital letters, which no path may have.
//!
//! Spec: distribution `reference` package, grammar in its `reference.go`.

use std::fmt;

use crate::base::digest::Digest;
use crate::base::{Error, Result, id};

/// The domain of names that have none.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The tag of references that have neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";
/// Text of the error for anything outside the grammar.
pub const INVALID_FORMAT: &str = "invalid reference format";

const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
const OFFICIAL_REPOSITORY: &str = "library";
const PATH_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// A normalised reference to an image in a repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// What a user may mean by the name of an image: a reference, or the id of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnyReference {
    /// A name.
    Named(Reference),
    /// A whole image id, with or without `sha256:`.
    Id(Digest),
}

impl Reference {
    /// Parses what a user typed and completes it: `debian` becomes `docker.io/library/debian`.
    /// No tag is added; see [`Reference::or_latest`].
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's texts.
    pub fn parse(text: &str) -> Result<Reference> {
        if id::is_full(text) {
            return Err(Error::invalid(format_args!(
                "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )));
        }
        let (domain, remainder) = split_domain(text);
        let remote = remainder.split(':').next().unwrap_or_default();
        if remote.chars().any(char::is_uppercase) {
            return Err(Error::invalid(format_args!(
                "{INVALID_FORMAT}: repository name ({remote}) must be lowercase"
            )));
        }
        let invalid = || Error::invalid(INVALID_FORMAT);
        let (name, digest) = match remainder.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (remainder.as_str(), None),
        };
        let (path, tag) = match name.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (name, None),
        };
        if !is_domain(domain)
            || !is_path(path)
            || !tag.is_none_or(is_tag)
            || !digest.is_none_or(looks_like_digest)
        {
            return Err(invalid());
        }
        if path.len() > PATH_MAX {
            return Err(Error::invalid(format_args!(
                "repository name must not be more than {PATH_MAX} characters"
            )));
        }
        Ok(Reference {
            domain: domain.to_string(),
            path: path.to_string(),
            tag: tag.map(str::to_string),
            digest: digest.map(parse_digest).transpose()?,
        })
    }

    /// The registry, with its port if one was given: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry: `library/debian`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if there is one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if there is one.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Domain and path: `docker.io/library/debian`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The short name that people see, without tag and digest: `debian`, `user/app`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        match self.path.strip_prefix("library/") {
            Some(name) if !name.contains('/') => name.to_string(),
            _ => self.path.clone(),
        }
    }

    /// The short form that people see, with tag and digest.
    pub fn familiar(&self) -> String {
        self.familiar_name() + &self.suffix()
    }

    /// Whether there is neither tag nor digest.
    pub fn is_name_only(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }

    /// The same, with the tag `latest` if it is a mere name.
    pub fn or_latest(mut self) -> Reference {
        if self.is_name_only() {
            self.tag = Some(DEFAULT_TAG.to_string());
        }
        self
    }

    /// The same repository with `tag` and no digest.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's text if `tag` is not a tag.
    pub fn with_tag(&self, tag: &str) -> Result<Reference> {
        if !is_tag(tag) {
            return Err(Error::invalid("invalid tag format"));
        }
        Ok(Reference { tag: Some(tag.to_string()), digest: None, ..self.clone() })
    }

    /// The same repository with `digest` and no tag.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The repository alone, without tag and digest.
    pub fn name_only(&self) -> Reference {
        Reference { tag: None, digest: None, ..self.clone() }
    }

    fn suffix(&self) -> String {
        let mut text = String::new();
        if let Some(tag) = &self.tag {
            text = format!(":{tag}");
        }
        if let Some(digest) = &self.digest {
            text += &format!("@{digest}");
        }
        text
    }
}

impl fmt::Display for Reference {
    /// The normalised form, as `repositories.json` and the registry protocol want it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, self.suffix())
    }
}

/// Parses what a user typed and completes it: `debian` becomes `docker.io/library/debian`.
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub fn parse_normalized(text: &str) -> Result<Reference> {
    Reference::parse(text)
}

/// Parses a name or a whole image id (64 hexadecimal digits, with or without `sha256:`).
///
/// # Errors
/// `InvalidParameter` with Docker's texts.
pub fn parse_any(text: &str) -> Result<AnyReference> {
    if let Some(digest) = Digest::from_hex(text) {
        return Ok(AnyReference::Id(digest));
    }
    match Digest::parse(text) {
        Ok(digest) => Ok(AnyReference::Id(digest)),
        Err(_) => Reference::parse(text).map(AnyReference::Named),
    }
}

/// The short form of a normalised name or of anything else that parses; else the text itself.
pub fn familiar(text: &str) -> String {
    Reference::parse(text).map_or_else(|_| text.to_string(), |r| r.familiar())
}

/// Whether `text` can be a tag: a letter, digit or underscore, then up to 127 of these, dots and dashes.
pub fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = text.bytes();
    text.len() <= TAG_MAX
        && bytes.next().is_some_and(word)
        && bytes.all(|b| word(b) || b == b'.' || b == b'-')
}

fn split_domain(text: &str) -> (&str, String) {
    let (domain, remote) = match text.split_once('/') {
        Some((LEGACY_DEFAULT_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.chars().any(char::is_uppercase) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    };
    if domain == DEFAULT_DOMAIN && !remote.contains('/') {
        return (domain, format!("{OFFICIAL_REPOSITORY}/{remote}"));
    }
    (domain, remote.to_string())
}

/// `host[:port]`; the host is dot-separated labels or an IPv6 address in brackets.
fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let hex = |b: u8| b.is_ascii_hexdigit() || b == b':';
            if address.is_empty() || !address.bytes().all(hex) {
                return false;
            }
            ("", if rest.is_empty() { None } else { rest.strip_prefix(':').or(Some("")) })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (text.starts_with('[') || host.split('.').all(label))
        && port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

fn is_path(text: &str) -> bool {
    text.split('/').all(is_path_component)
}

/// Runs of lower-case letters and digits, separated by one dot, one or two underscores, or dashes.
fn is_path_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut rest = text.as_bytes();
    loop {
        let run = rest.iter().take_while(|b| word(**b)).count();
        if run == 0 {
            return false;
        }
        rest = &rest[run..];
        if rest.is_empty() {
            return true;
        }
        let separator = rest.iter().take_while(|b| !word(**b)).count();
        match &rest[..separator] {
            b"." | b"_" | b"__" => {}
            dashes if dashes.iter().all(|b| *b == b'-') => {}
            _ => return false,
        }
        rest = &rest[separator..];
    }
}

/// The loose grammar of a digest within a reference; [`parse_digest`] is the strict one.
fn looks_like_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(part)
        && hex.len() >= 32
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

fn parse_digest(text: &str) -> Result<Digest> {
    let (algorithm, value) = text.split_once(':').unwrap_or_default();
    if algorithm != "sha256" {
        return Err(Error::invalid("unsupported digest algorithm"));
    }
    if value.len() != 64 {
        return Err(Error::invalid("invalid checksum digest length"));
    }
    Digest::from_hex(value).ok_or_else(|| Error::invalid("invalid checksum digest format"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn familiar_names_become_whole_names_and_back() {
        for (typed, whole, familiar) in [
            ("debian", "docker.io/library/debian", "debian"),
            ("debian:bookworm", "docker.io/library/debian:bookworm", "debian:bookworm"),
            ("library/debian", "docker.io/library/debian", "debian"),
            ("user/app:1.0-rc_2", "docker.io/user/app:1.0-rc_2", "user/app:1.0-rc_2"),
            ("library/a/b", "docker.io/library/a/b", "library/a/b"),
            ("docker.io/debian", "docker.io/library/debian", "debian"),
            ("index.docker.io/user/app", "docker.io/user/app", "user/app"),
            ("localhost/app", "localhost/app", "localhost/app"),
            ("localhost:5000/app:x", "localhost:5000/app:x", "localhost:5000/app:x"),
            ("host:5000/a/b/c", "host:5000/a/b/c", "host:5000/a/b/c"),
            ("Host/app", "Host/app", "Host/app"),
            ("127.0.0.1/app", "127.0.0.1/app", "127.0.0.1/app"),
            ("[fd00::1]:5000/app", "[fd00::1]:5000/app", "[fd00::1]:5000/app"),
            ("[::1]/app", "[::1]/app", "[::1]/app"),
            ("xn--n3h.com/app", "xn--n3h.com/app", "xn--n3h.com/app"),
            ("foo_bar.com:8080", "docker.io/library/foo_bar.com:8080", "foo_bar.com:8080"),
            ("a__b/c--d.e", "docker.io/a__b/c--d.e", "a__b/c--d.e"),
            ("debian:TAG", "docker.io/library/debian:TAG", "debian:TAG"),
        ] {
            let r = Reference::parse(typed).unwrap_or_else(|e| panic!("{typed}: {e}"));
            assert_eq!(r.to_string(), whole, "{typed}");
            assert_eq!(r.familiar(), familiar, "{typed}");
            assert_eq!(Reference::parse(whole).unwrap(), r, "{typed}");
        }
    }

    #[test]
    fn tags_and_digests_are_taken_apart() {
        let r = Reference::parse(&format!("host:5000/app:1@sha256:{HEX}")).unwrap();
        assert_eq!((r.domain(), r.path(), r.tag()), ("host:5000", "app", Some("1")));
        assert_eq!(r.digest(), Digest::from_hex(HEX));
        assert_eq!(r.familiar(), format!("host:5000/app:1@sha256:{HEX}"));
        assert_eq!(r.clone().or_latest(), r);
        assert_eq!(r.with_tag("2").unwrap().to_string(), "host:5000/app:2");
        assert_eq!(r.name_only().or_latest().to_string(), "host:5000/app:latest");
        assert!(r.with_tag("-2").is_err());
    }

    // The texts are those of Docker CLI 28.2 for the same input.
    #[test]
    fn refusals_have_dockers_words() {
        let long = "a".repeat(260);
        let format = INVALID_FORMAT.to_string();
        let not_hex = format!("foo@sha256:E{}", &HEX[1..]);
        for (typed, text) in [
            ("", format.clone()),
            (":x", format.clone()),
            ("foo:", format.clone()),
            ("foo@bar", format.clone()),
            ("foo@sha256:abc", format.clone()),
            ("a/b:5000/c", format.clone()),
            ("http://foo/bar", format.clone()),
            ("foo//bar", format.clone()),
            ("foo/", format.clone()),
            ("a___b", format.clone()),
            ("a.-b", format.clone()),
            ("-a", format.clone()),
            ("a b", format.clone()),
            ("-foo.com/a", format.clone()),
            ("foo.com:x/a", format.clone()),
            ("foo.com:/a", format.clone()),
            ("[::1/a", format.clone()),
            ("[::1]5000/a", format.clone()),
            ("Foo", format!("{format}: repository name (library/Foo) must be lowercase")),
            ("localhost/Foo", format!("{format}: repository name (Foo) must be lowercase")),
            ("x.com/Foo:T", format!("{format}: repository name (Foo) must be lowercase")),
            (
                HEX,
                format!(
                    "invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings"
                ),
            ),
            (&long, "repository name must not be more than 255 characters".into()),
            (&format!("foo@sha512:{HEX}"), "unsupported digest algorithm".into()),
            (&format!("foo@sha256:{HEX}00"), "invalid checksum digest length".into()),
            (&not_hex, "invalid checksum digest format".into()),
        ] {
            let e = Reference::parse(typed).expect_err(typed);
            assert_eq!(e.to_string(), text, "{typed}");
        }
    }

    #[test]
    fn ids_are_told_from_names() {
        let id = AnyReference::Id(Digest::from_hex(HEX).unwrap());
        assert_eq!(parse_any(HEX).unwrap(), id);
        assert_eq!(parse_any(&format!("sha256:{HEX}")).unwrap(), id);
        assert!(matches!(parse_any(&HEX[..12]).unwrap(), AnyReference::Named(_)));
        assert!(matches!(parse_any(&HEX[..63]).unwrap(), AnyReference::Named(_)));
    }

    #[test]
    fn tags_are_bounded() {
        assert!(is_tag("_") && is_tag(&"x".repeat(128)));
        assert!(!is_tag("") && !is_tag(&"x".repeat(129)) && !is_tag(".x") && !is_tag("a/b"));
    }
}
