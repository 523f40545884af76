//! Cross-origin requests of browsers: off unless the daemon was started with `--api-cors-header`.

use crate::http::Headers;

/// Adds the fields that let pages of `origin` use the API; an empty origin adds nothing.
pub fn apply(origin: &str, headers: &mut Headers) {
    if origin.is_empty() {
        return;
    }
    headers.set("Access-Control-Allow-Origin", origin);
    headers.set(
        "Access-Control-Allow-Headers",
        "Origin, X-Requested-With, Content-Type, Accept, X-Registry-Auth",
    );
    headers.set("Access-Control-Allow-Methods", "HEAD, GET, POST, DELETE, PUT, OPTIONS");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_appear_only_when_configured() {
        let mut headers = Headers::new();
        apply("", &mut headers);
        assert_eq!(headers.iter().count(), 0);
        apply("https://x.example", &mut headers);
        assert_eq!(headers.get("access-control-allow-origin"), Some("https://x.example"));
        assert_eq!(headers.iter().count(), 3);
    }
}
