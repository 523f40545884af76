//! Files of containers as they are shown.
//!
//! Spec: Docker Engine API 1.51, HEAD and GET /containers/{id}/archive, GET /containers/{id}/changes.

use crate::base::time::Timestamp;
use crate::wire;

/// The header field with a [`PathStat`] in base64.
pub const PATH_STAT_HEADER: &str = "X-Docker-Container-Path-Stat";

wire! {
    /// A path in a container. `Mode` is Go's `fs.FileMode`: permission bits, and type bits of its own.
    pub struct PathStat {
        "name" keep name: String,
        "size" keep size: i64,
        "mode" keep mode: u32,
        "mtime" keep mtime: Timestamp,
        "linkTarget" keep link_target: String,
    }
}

wire! {
    /// One row of `GET /containers/{name}/changes`. `Kind` is 0 for changed, 1 added, 2 deleted.
    pub struct Change {
        "Path" keep path: String,
        "Kind" keep kind: i64,
    }
}

/// Type bits of Go's `fs.FileMode` and the `st_mode` type that they stand for.
const TYPES: &[(u32, u32)] = &[
    (MODE_DIR, libc::S_IFDIR),
    (MODE_LINK, libc::S_IFLNK),
    (MODE_DEVICE, libc::S_IFBLK),
    (MODE_DEVICE | 1 << 21, libc::S_IFCHR),
    (1 << 25, libc::S_IFIFO),
    (1 << 24, libc::S_IFSOCK),
];
const BITS: &[(u32, u32)] =
    &[(1 << 23, libc::S_ISUID), (1 << 22, libc::S_ISGID), (1 << 20, libc::S_ISVTX)];

/// Go's bit of directories.
pub const MODE_DIR: u32 = 1 << 31;
/// Go's bit of symbolic links.
pub const MODE_LINK: u32 = 1 << 27;
/// Go's bit of devices.
pub const MODE_DEVICE: u32 = 1 << 26;

/// `st_mode` as Go's `fs.FileMode`.
pub fn file_mode(st_mode: u32) -> u32 {
    let kind = TYPES.iter().find(|(_, kind)| st_mode & libc::S_IFMT == *kind);
    let bits = BITS.iter().filter(|(_, bit)| st_mode & bit != 0).map(|(go, _)| go).sum::<u32>();
    kind.map_or(0, |(go, _)| *go) | bits | st_mode & 0o777
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        for (st_mode, go) in [
            (0o100644, 420),
            (0o040755, 2_147_484_141),
            (0o120777, 134_218_239),
            (0o041777, 0x8010_01ff),
            (0o104755, 0x0080_01ed),
            (0o020666, 0x0420_01b6),
        ] {
            assert_eq!(file_mode(st_mode), go, "{st_mode:o}");
        }
    }
}
