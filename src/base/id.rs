//! Object ids: 64 hexadecimal digits, shown as 12. `sys::random` makes new ones.

/// The form that people see: the first 12 digits, without a `sha256:` prefix.
pub fn short(id: &str) -> &str {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.get(..12).unwrap_or(hex)
}

/// Whether `text` is a whole id.
pub fn is_full(text: &str) -> bool {
    super::hex::is_hex(text, 64)
}
