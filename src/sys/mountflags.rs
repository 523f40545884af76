//! Mount options in words: which are flags of mount(2), and which are the filesystem's own.
//!
//! Spec: mount(2), mount(8).

use super::mount::MsFlags;

/// Linux 5.10.
pub const MS_NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(0x100);

/// Every option that is a flag: name, whether it switches on, flag.
pub const FLAGS: &[(&str, bool, MsFlags)] = &[
    ("ro", true, MsFlags::MS_RDONLY),
    ("rw", false, MsFlags::MS_RDONLY),
    ("nosuid", true, MsFlags::MS_NOSUID),
    ("suid", false, MsFlags::MS_NOSUID),
    ("nodev", true, MsFlags::MS_NODEV),
    ("dev", false, MsFlags::MS_NODEV),
    ("noexec", true, MsFlags::MS_NOEXEC),
    ("exec", false, MsFlags::MS_NOEXEC),
    ("sync", true, MsFlags::MS_SYNCHRONOUS),
    ("async", false, MsFlags::MS_SYNCHRONOUS),
    ("dirsync", true, MsFlags::MS_DIRSYNC),
    ("mand", true, MsFlags::MS_MANDLOCK),
    ("nomand", false, MsFlags::MS_MANDLOCK),
    ("noatime", true, MsFlags::MS_NOATIME),
    ("atime", false, MsFlags::MS_NOATIME),
    ("nodiratime", true, MsFlags::MS_NODIRATIME),
    ("diratime", false, MsFlags::MS_NODIRATIME),
    ("relatime", true, MsFlags::MS_RELATIME),
    ("norelatime", false, MsFlags::MS_RELATIME),
    ("strictatime", true, MsFlags::MS_STRICTATIME),
    ("nostrictatime", false, MsFlags::MS_STRICTATIME),
    ("lazytime", true, MsFlags::MS_LAZYTIME),
    ("nolazytime", false, MsFlags::MS_LAZYTIME),
    ("nosymfollow", true, MS_NOSYMFOLLOW),
    ("symfollow", false, MS_NOSYMFOLLOW),
    ("iversion", true, MsFlags::MS_I_VERSION),
    ("noiversion", false, MsFlags::MS_I_VERSION),
    ("silent", true, MsFlags::MS_SILENT),
    ("loud", false, MsFlags::MS_SILENT),
    ("acl", true, MsFlags::MS_POSIXACL),
    ("noacl", false, MsFlags::MS_POSIXACL),
];

/// Propagation types; with an `r` in front they are for the whole tree.
pub const PROPAGATION: &[(&str, MsFlags)] = &[
    ("private", MsFlags::MS_PRIVATE),
    ("slave", MsFlags::MS_SLAVE),
    ("shared", MsFlags::MS_SHARED),
    ("unbindable", MsFlags::MS_UNBINDABLE),
];

/// The options of one mount, sorted by who takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Flags for the call that mounts.
    pub set: MsFlags,
    /// Propagation, which takes a call of its own; empty if none is asked for.
    pub propagation: MsFlags,
    /// What the filesystem understands, joined by commas.
    pub data: String,
}

/// Sorts `words`, which commas part; of contradicting ones the later wins.
pub fn parse(words: &str) -> Parsed {
    let mut parsed =
        Parsed { set: MsFlags::empty(), propagation: MsFlags::empty(), data: String::new() };
    let mut data = Vec::new();
    for word in words.split(',') {
        let tree = word.strip_prefix('r').unwrap_or(word);
        let propagation = |word: &str| PROPAGATION.iter().find(|(name, _)| *name == word);
        match word {
            "" | "defaults" => {}
            "bind" => parsed.set |= MsFlags::MS_BIND,
            "rbind" => parsed.set |= MsFlags::MS_BIND | MsFlags::MS_REC,
            "remount" => parsed.set |= MsFlags::MS_REMOUNT,
            _ => match (FLAGS.iter().find(|(name, ..)| *name == word), propagation(word)) {
                (Some((_, on, flag)), _) => parsed.set.set(*flag, *on),
                (None, Some((_, kind))) => parsed.propagation = *kind,
                (None, None) => match propagation(tree) {
                    Some((_, kind)) => parsed.propagation = *kind | MsFlags::MS_REC,
                    None => data.push(word),
                },
            },
        }
    }
    parsed.data = data.join(",");
    parsed
}

impl Parsed {
    /// Flags of the calls that follow the one that mounts.
    pub fn second_calls(&self) -> Vec<MsFlags> {
        let mut calls = Vec::new();
        if !self.propagation.is_empty() {
            calls.push(self.propagation);
        }
        // The call that binds takes no other flag.
        if self.set.contains(MsFlags::MS_BIND | MsFlags::MS_RDONLY) {
            calls.push(self.set | MsFlags::MS_REMOUNT);
        }
        calls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_sorted_by_who_takes_them() {
        let parsed = parse("ro,nosuid,size=1m,,suid,rslave,addr=x");
        assert_eq!(parsed.set, MsFlags::MS_RDONLY);
        assert_eq!(parsed.propagation, MsFlags::MS_SLAVE | MsFlags::MS_REC);
        assert_eq!(parsed.data, "size=1m,addr=x");
        assert_eq!(parsed.second_calls(), [parsed.propagation]);
    }

    #[test]
    fn a_read_only_bind_takes_a_second_call() {
        let parsed = parse("bind,ro");
        let all = MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        assert_eq!(parsed.second_calls(), [all | MsFlags::MS_REMOUNT]);
        assert_eq!(parse("rbind").second_calls(), []);
    }
}
