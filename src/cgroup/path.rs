//! Where a container's cgroup goes: from `--cgroup-parent` to a path.
//!
//! * nothing: `/docker/ID`;
//! * `/foobar`: `/foobar/ID` below the root cgroup;
//! * `foobar`: `foobar/ID` below the daemon's own cgroup.
//!
//! Spec: `dockerd --cgroup-parent`; the container's own setting wins over the daemon's.

/// The parent where neither the container nor the daemon names one.
pub const DEFAULT_PARENT: &str = "/docker";

/// The cgroup path of container `id`; `parents` are the settings by rank, empty ones count as absent.
pub fn container_path(parents: &[&str], id: &str) -> String {
    let parent = parents.iter().find(|p| !p.is_empty()).copied().unwrap_or(DEFAULT_PARENT);
    format!("{}/{id}", parent.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_rules_of_the_parent() {
        assert_eq!(container_path(&["", ""], "abc"), "/docker/abc");
        assert_eq!(container_path(&["", "/foobar"], "abc"), "/foobar/abc");
        assert_eq!(container_path(&["foobar", "/foobar"], "abc"), "foobar/abc");
        assert_eq!(container_path(&["/"], "abc"), "/abc");
    }
}
