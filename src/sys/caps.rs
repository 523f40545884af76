//! Capabilities: names, sets, what this process and this kernel have, and applying them in order.
//!
//! The order in [`apply`] is forced by the kernel: the bounding set can only shrink while
//! `CAP_SETPCAP` is effective, so it goes first; `PR_SET_KEEPCAPS` must be on while the user changes,
//! or the permitted set is lost; the ambient set can only hold what is permitted and inheritable, so
//! it goes last. What the process does not have itself is left out and reported, as runc does:
//! a container engine in a container must carry on.
//!
//! Spec: capabilities(7); OCI runtime-spec config.md "Linux Process" capabilities.

use crate::base::{At, Error, Result};

/// Names by number, without `CAP_`. The kernel only ever appends to this list.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities; bit N is capability number N.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Set(pub u64);

impl Set {
    /// No capability.
    pub const EMPTY: Set = Set(0);
    /// Every capability that has a name here.
    pub const NAMED: Set = Set((1 << NAMES.len()) - 1);

    /// The set of the given names; see [`number`] for the forms.
    ///
    /// # Errors
    /// `InvalidParameter` with Docker's text for the first unknown name.
    pub fn parse<S: AsRef<str>>(names: &[S]) -> Result<Set> {
        names.iter().try_fold(Set::EMPTY, |set, name| Ok(set.with(number(name.as_ref())?)))
    }

    /// Whether capability `cap` is in the set.
    pub const fn contains(self, cap: u8) -> bool {
        cap < 64 && self.0 & (1 << cap) != 0
    }

    /// Whether the capability with this name (either form) is in the set.
    pub fn has(self, name: &str) -> bool {
        number(name).is_ok_and(|cap| self.contains(cap))
    }

    /// This set and `cap`.
    pub const fn with(self, cap: u8) -> Set {
        Set(self.0 | 1 << cap)
    }

    /// Both sets together.
    pub const fn union(self, other: Set) -> Set {
        Set(self.0 | other.0)
    }

    /// What both sets have.
    pub const fn intersection(self, other: Set) -> Set {
        Set(self.0 & other.0)
    }

    /// What this set has and `other` has not.
    pub const fn minus(self, other: Set) -> Set {
        Set(self.0 & !other.0)
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The numbers, ascending.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..64).filter(move |cap| self.contains(*cap))
    }

    /// The names with `CAP_`, by number; a capability without a name here is left out.
    pub fn names(self) -> Vec<String> {
        self.intersection(Set::NAMED).iter().map(name).collect()
    }
}

/// The name of `cap` with `CAP_`.
pub fn name(cap: u8) -> String {
    match NAMES.get(usize::from(cap)) {
        Some(name) => format!("CAP_{name}"),
        None => format!("CAP_{cap}"),
    }
}

/// The number of a capability: any case, with or without `CAP_`.
///
/// # Errors
/// `InvalidParameter` with Docker's text.
pub fn number(name: &str) -> Result<u8> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    match NAMES.iter().position(|known| *known == bare) {
        Some(i) => Ok(u8::try_from(i).expect("cannot fail: the table has 41 rows")),
        None => Err(Error::invalid(format_args!("unknown capability: \"CAP_{bare}\""))),
    }
}

/// Docker's `--cap-add` and `--cap-drop` on top of `base`; `available` is what `ALL` means.
///
/// # Errors
/// `InvalidParameter` with Docker's texts: an unknown name, or one that is not in `available`.
pub fn adjust<S: AsRef<str>>(base: Set, adds: &[S], drops: &[S], available: Set) -> Result<Set> {
    let read = |names: &[S]| -> Result<(Set, bool)> {
        let mut set = Set::EMPTY;
        let mut all = false;
        for text in names.iter().map(S::as_ref) {
            if text.eq_ignore_ascii_case("ALL") {
                all = true;
                continue;
            }
            let cap = number(text)?;
            if !available.contains(cap) {
                return Err(Error::invalid(format_args!(
                    "capability not supported by your kernel or not available in the current \
                     environment: \"{}\"",
                    name(cap)
                )));
            }
            set = set.with(cap);
        }
        Ok((set, all))
    };
    let ((dropped, drop_all), (added, add_all)) = (read(drops)?, read(adds)?);
    Ok(match (add_all, drop_all) {
        (true, _) => available.minus(dropped),
        (_, true) => added,
        _ => base.minus(dropped).union(added),
    })
}

/// The five sets of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// The limit of what exec can ever give back.
    pub bounding: Set,
    /// What may be made effective.
    pub permitted: Set,
    /// What the kernel checks.
    pub effective: Set,
    /// Kept over exec where the file has it too.
    pub inheritable: Set,
    /// Kept over exec of any ordinary file.
    pub ambient: Set,
}

const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// All five sets of the calling thread.
///
/// # Errors
/// `Io` if capget fails.
pub fn current() -> Result<Sets> {
    let header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 of the interface reads the header and writes two Data records, which is what
    // both pointers point at; pid 0 is the calling thread.
    let rc = unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) };
    if rc != 0 {
        return Err(Error::last_os().at("reading capabilities"));
    }
    let join =
        |part: fn(&Data) -> u32| Set(u64::from(part(&data[0])) | u64::from(part(&data[1])) << 32);
    Ok(Sets {
        bounding: bounding(),
        permitted: join(|d| d.permitted),
        effective: join(|d| d.effective),
        inheritable: join(|d| d.inheritable),
        ambient: ambient(),
    })
}

/// The capabilities of the running kernel, named here or not.
pub fn known_to_kernel() -> Set {
    // The read fails with EINVAL one past the last one (Linux 2.6.25).
    let last = (0..64).take_while(|cap| read_bounding(*cap).is_some()).last();
    Set(last.map_or(0, |last| u64::MAX >> (63 - last)))
}

/// The bounding set of the calling thread.
pub fn bounding() -> Set {
    let mut set = Set::EMPTY;
    for cap in 0..64 {
        match read_bounding(cap) {
            Some(true) => set = set.with(cap),
            Some(false) => {}
            None => break,
        }
    }
    set
}

fn read_bounding(cap: u8) -> Option<bool> {
    match prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(cap), 0) {
        Ok(held) => Some(held == 1),
        Err(_) => None,
    }
}

fn ambient() -> Set {
    let is_set = |cap: &u8| {
        let cap = libc::c_ulong::from(*cap);
        prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_IS_SET as libc::c_ulong, cap) == Ok(1)
    };
    (0..64).filter(is_set).fold(Set::EMPTY, Set::with)
}

/// Makes `sets` the calling thread's, running `become_user` (setresuid and the like) at the one place
/// where it can stand. Returns what `sets.bounding` and `sets.permitted` named but this process has not.
/// Allocates nothing unless it fails.
///
/// # Errors
/// `Io` of the step that failed, or the error of `become_user`. The thread is then in between: it
/// must not run the container's program.
pub fn apply(sets: &Sets, become_user: impl FnOnce() -> Result<()>) -> Result<Set> {
    let had = current()?;
    for cap in had.bounding.minus(sets.bounding).iter() {
        prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(cap), 0)
            .at(format_args!("dropping {} from the bounding set", name(cap)))?;
    }
    prctl(libc::PR_SET_KEEPCAPS, 1, 0).at("keeping capabilities over setuid")?;
    become_user()?;
    prctl(libc::PR_SET_KEEPCAPS, 0, 0).at("ending the keeping of capabilities")?;
    let permitted = sets.permitted.intersection(had.permitted);
    // The kernel refuses inheritable bits outside the bounding set.
    let inheritable = sets
        .inheritable
        .intersection(sets.bounding)
        .intersection(had.permitted.union(had.inheritable));
    let effective = sets.effective.intersection(permitted);
    set_three(permitted, effective, inheritable)?;
    set_ambient(sets.ambient.intersection(permitted).intersection(inheritable))?;
    Ok(sets.bounding.minus(had.bounding).union(sets.permitted.minus(had.permitted)))
}

/// capset(2) for the calling thread.
///
/// # Errors
/// `Io`, normally EPERM for bits that are not held.
pub fn set_three(permitted: Set, effective: Set, inheritable: Set) -> Result<()> {
    let header = Header { version: VERSION_3, pid: 0 };
    let half = |shift: u32| Data {
        effective: (effective.0 >> shift) as u32,
        permitted: (permitted.0 >> shift) as u32,
        inheritable: (inheritable.0 >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: both pointers are valid for the call and have the layout of version 3; the kernel only
    // reads through them.
    let rc = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    if rc == 0 { Ok(()) } else { Err(Error::last_os().at("setting capabilities")) }
}

fn set_ambient(set: Set) -> Result<()> {
    match prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, 0) {
        // Kernels before 4.3 have no ambient set, so there is nothing to clear or to raise.
        Err(nix::errno::Errno::EINVAL) => return Ok(()),
        Err(errno) => return Err(errno).at("clearing ambient capabilities"),
        Ok(_) => {}
    }
    for cap in set.iter() {
        prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong,
            libc::c_ulong::from(cap),
        )
        .at(format_args!("raising ambient {}", name(cap)))?;
    }
    Ok(())
}

fn prctl(option: libc::c_int, a: libc::c_ulong, b: libc::c_ulong) -> nix::Result<i32> {
    let zero: libc::c_ulong = 0;
    // SAFETY: the options used in this file take integers only; unused arguments must be zero.
    let rc = unsafe { libc::prctl(option, a, b, zero, zero) };
    nix::errno::Errno::result(rc)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `body` on a thread of its own: capabilities are a property of the thread.
    fn on_own_thread<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(body).join().unwrap()
    }

    #[test]
    fn names_are_read_in_every_form() {
        for text in ["NET_ADMIN", "cap_net_admin", "CAP_NET_ADMIN", "net_admin"] {
            assert_eq!(number(text).unwrap(), 12, "{text}");
        }
        assert_eq!(number("checkpoint_restore").unwrap(), 40);
        assert_eq!(
            number("cap_Sys_Magic").unwrap_err().to_string(),
            "unknown capability: \"CAP_SYS_MAGIC\""
        );
        assert_eq!(Set::parse(&["KILL", "CHOWN"]).unwrap().names(), ["CAP_CHOWN", "CAP_KILL"]);
    }

    #[test]
    fn add_and_drop_follow_docker() {
        let available = Set(0xff);
        let base = Set(0x0f);
        let adjusted =
            |adds: &[&str], drops: &[&str]| adjust(base, adds, drops, available).unwrap();
        assert_eq!(adjusted(&[], &[]), base);
        assert_eq!(adjusted(&["SETUID"], &["CHOWN"]), Set(0x8e));
        assert_eq!(adjusted(&["all"], &["CHOWN"]), Set(0xfe));
        assert_eq!(adjusted(&["KILL"], &["ALL"]), Set(0x20));
        // What is dropped and added is in the set: adding comes last.
        assert_eq!(adjusted(&["CHOWN"], &["CHOWN"]), base);
        let e = adjust(base, &["SYS_ADMIN"], &[], available).unwrap_err().to_string();
        assert!(e.ends_with("not available in the current environment: \"CAP_SYS_ADMIN\""), "{e}");
        assert!(adjust(base, &["NO_SUCH"], &[], available).is_err());
    }

    #[test]
    fn current_sets_equal_the_kernels_status_file() {
        let (sets, status) = on_own_thread(|| {
            (current().unwrap(), std::fs::read_to_string("/proc/thread-self/status").unwrap())
        });
        let field = |key: &str| {
            let line = status.lines().find(|l| l.starts_with(key)).unwrap();
            Set(u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap())
        };
        assert_eq!(sets.permitted, field("CapPrm"));
        assert_eq!(sets.effective, field("CapEff"));
        assert_eq!(sets.inheritable, field("CapInh"));
        assert_eq!(sets.bounding, field("CapBnd"));
        assert_eq!(sets.ambient, field("CapAmb"));
        let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
        let last: u32 = last.trim().parse().unwrap();
        assert_eq!(known_to_kernel(), Set(u64::MAX >> (63 - last)));
    }

    #[test]
    fn applied_sets_survive_a_change_of_user() {
        let wanted = Set::parse(&["CHOWN", "NET_BIND_SERVICE"]).unwrap();
        let full = current().unwrap();
        if !wanted.minus(full.permitted).is_empty() || !full.permitted.has("SETPCAP") {
            println!("skipped: this process may not change its bounding set");
            return;
        }
        let (ignored, got) = on_own_thread(move || {
            let sets = Sets {
                bounding: wanted.with(62),
                permitted: wanted,
                effective: wanted,
                inheritable: wanted,
                ambient: Set::parse(&["NET_BIND_SERVICE"]).unwrap(),
            };
            let ignored = apply(&sets, || {
                // SAFETY: plain integers; the raw call changes this thread only, unlike libc's wrapper.
                let rc = unsafe { libc::syscall(libc::SYS_setresuid, 1000, 1000, 1000) };
                assert_eq!(rc, 0);
                Ok(())
            });
            (ignored.unwrap(), current().unwrap())
        });
        assert_eq!(ignored, Set::EMPTY.with(62));
        assert_eq!((got.bounding, got.permitted, got.effective), (wanted, wanted, wanted));
        assert_eq!(got.ambient.names(), ["CAP_NET_BIND_SERVICE"]);
    }

    #[test]
    fn an_empty_set_takes_everything_away() {
        let got = on_own_thread(|| {
            apply(&Sets::default(), || Ok(())).unwrap();
            current().unwrap()
        });
        assert_eq!(got, Sets::default());
    }
}
