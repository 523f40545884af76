//! Mount options in words: flags to set and to clear, propagation, and what is left for the filesystem.
//!
//! Spec: OCI runtime-spec 1.2, `config-linux.md` and runc's list of options; mount(8).

use nix::mount::MsFlags;

use crate::sys::mountflags::MS_NOSYMFOLLOW;
pub(in super::super) use crate::sys::mountflags::{FLAGS, PROPAGATION};

/// A mount's options, sorted by who takes them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Options {
    /// Flags that the options switch on.
    pub(super) set: Flags,
    /// Flags that the options switch off, which matters for a bind mount that inherits its source's.
    pub(super) clear: Flags,
    /// Flags of the whole tree (`rro` and the like, Linux 5.12).
    pub(super) set_recursive: Flags,
    /// As `set_recursive`, switched off.
    pub(super) clear_recursive: Flags,
    /// It is a bind mount.
    pub(super) bind: bool,
    /// The bind takes the mounts below its source along.
    pub(super) recursive: bool,
    /// Propagation types, in order, each with whether it is for the whole tree.
    pub(super) propagation: Vec<(MsFlags, bool)>,
    /// A tmpfs begins with what it covers.
    pub(super) copy_up: bool,
    /// What the filesystem itself understands, joined by commas.
    pub(super) data: String,
}

/// A set of mount flags.
pub(super) type Flags = MsFlags;

impl Default for Options {
    fn default() -> Options {
        Options {
            set: Flags::empty(),
            clear: Flags::empty(),
            set_recursive: Flags::empty(),
            clear_recursive: Flags::empty(),
            bind: false,
            recursive: false,
            propagation: Vec::new(),
            copy_up: false,
            data: String::new(),
        }
    }
}

/// The propagation type of `word`, and whether it is for the whole tree (`rslave`).
pub(super) fn propagation(word: &str) -> Option<(MsFlags, bool)> {
    let find = |word| PROPAGATION.iter().find(|(name, _)| *name == word).map(|(_, flag)| *flag);
    find(word)
        .map(|flag| (flag, false))
        .or_else(|| word.strip_prefix('r').and_then(find).map(|flag| (flag, true)))
}

/// Sorts the options of one mount; of contradicting ones the later wins.
pub(super) fn parse(words: &[String]) -> Options {
    let mut out = Options::default();
    let mut data: Vec<&str> = Vec::new();
    let find = |word: &str| FLAGS.iter().find(|(name, ..)| *name == word);
    for word in words {
        match word.as_str() {
            "bind" => out.bind = true,
            "rbind" => (out.bind, out.recursive) = (true, true),
            // Who mounts it sees to these (`early`).
            "idmap" | "ridmap" => {}
            "tmpcopyup" => out.copy_up = true,
            "defaults" | "" => {}
            word => {
                if let Some((_, on, flag)) = find(word) {
                    out.set.set(*flag, *on);
                    out.clear.set(*flag, !*on);
                } else if let Some(propagation) = propagation(word) {
                    out.propagation.push(propagation);
                } else if let Some((_, on, flag)) = word.strip_prefix('r').and_then(find) {
                    out.set_recursive.set(*flag, *on);
                    out.clear_recursive.set(*flag, !*on);
                } else {
                    data.push(word);
                }
            }
        }
    }
    out.data = data.join(",");
    out
}

/// The `MOUNT_ATTR_*` bits of mount_setattr(2) for mount(2)'s flags; those that belong to the
/// filesystem and not to the mount are left out.
pub(super) fn attributes(flags: MsFlags) -> u64 {
    const PAIRS: &[(MsFlags, u64)] = &[
        (MsFlags::MS_RDONLY, 0x1),
        (MsFlags::MS_NOSUID, 0x2),
        (MsFlags::MS_NODEV, 0x4),
        (MsFlags::MS_NOEXEC, 0x8),
        (MsFlags::MS_NODIRATIME, 0x80),
        (MS_NOSYMFOLLOW, 0x20_0000),
    ];
    PAIRS.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, bit)| bit).sum()
}

/// Whether a flag is one of a mount, and not of its filesystem.
pub(super) fn is_of_mount(flag: MsFlags) -> bool {
    attributes(flag) != 0 || access_time(flag).is_some()
}

/// `MOUNT_ATTR_NOATIME` or `MOUNT_ATTR_STRICTATIME` if `flags` choose one. The access time is a field
/// of its own, `MOUNT_ATTR__ATIME`, which must be cleared to be set.
pub(super) fn access_time(flags: MsFlags) -> Option<u64> {
    if flags.contains(MsFlags::MS_NOATIME) {
        Some(0x10)
    } else if flags.contains(MsFlags::MS_STRICTATIME) {
        Some(0x20)
    } else if flags.contains(MsFlags::MS_RELATIME) {
        Some(0)
    } else {
        None
    }
}

/// `MOUNT_ATTR__ATIME`.
pub(super) const ACCESS_TIME_MASK: u64 = 0x70;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Options {
        parse(&text.split(',').map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn words_go_where_they_belong() {
        let options = of("rbind,ro,rprivate,nosuid,size=64m,rro,mode=755");
        assert!(options.bind && options.recursive);
        assert_eq!(options.set, MsFlags::MS_RDONLY | MsFlags::MS_NOSUID);
        assert_eq!(options.set_recursive, MsFlags::MS_RDONLY);
        assert_eq!(options.propagation, [(MsFlags::MS_PRIVATE, true)]);
        assert_eq!(options.data, "size=64m,mode=755");
    }

    #[test]
    fn the_later_of_two_contradicting_words_wins() {
        assert_eq!(of("ro,rw").set, MsFlags::empty());
        assert_eq!(of("ro,rw").clear, MsFlags::MS_RDONLY);
        assert_eq!(of("rw,ro").set, MsFlags::MS_RDONLY);
        // A filesystem's own option that starts like a recursive flag.
        assert_eq!(of("relatime").set, MsFlags::MS_RELATIME);
        assert_eq!(of("rodata=x").data, "rodata=x");
    }
}
