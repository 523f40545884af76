//! The host's time zone, for times that people read.

/// Seconds east of UTC and the zone's short name at `secs` seconds since the epoch.
pub fn zone_at(secs: i64) -> (i64, String) {
    // SAFETY: an all-zero `tm` is a valid value; its zone pointer is only read after localtime_r.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right types; localtime_r keeps neither.
    let done = unsafe { libc::localtime_r(&(secs as _), &mut parts) };
    if done.is_null() || parts.tm_zone.is_null() {
        return (0, "UTC".into());
    }
    // SAFETY: localtime_r sets tm_zone to a string of static lifetime.
    let name = unsafe { std::ffi::CStr::from_ptr(parts.tm_zone) };
    (parts.tm_gmtoff, name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_has_a_name_and_a_sane_offset() {
        let (offset, name) = zone_at(1_700_000_000);
        assert!((-14 * 3600..=14 * 3600).contains(&offset));
        assert!(!name.is_empty());
    }
}
