//! Which device nodes a container may open or make: from the rules of a specification to one state.
//!
//! Rules apply in order. Their outcome is what cgroup v1 keeps: a default (allow or deny) and exceptions
//! from it, each a kind, a device with wildcards, and the accesses it covers. On v1 the state is
//! written to `devices.allow` and `devices.deny`, on v2 it becomes a BPF program; both decide alike. A rule
//! that would cut a hole into an exception with a wildcard cannot be held by v1 and is an error, not
//! a silent difference.
//!
//! Spec: Documentation/admin-guide/cgroup-v1/devices.rst; cgroup-v2.rst "Device controller".

use std::fmt;
use std::path::Path;

use super::control;
use super::resources::LinuxDeviceCgroup;
use crate::base::{Error, Result};
use crate::sys::bpf::Insn;

// Values of linux/bpf.h, so that they can be compared with the program's context.
const MKNOD: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;
const ALL: u8 = MKNOD | READ | WRITE;
const BLOCK: u8 = 1;
const CHAR: u8 = 2;

/// Exceptions from the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Exception {
    kind: u8,
    major: Option<u32>,
    minor: Option<u32>,
    access: u8,
}

/// The state of a device cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Devices {
    allow_by_default: bool,
    exceptions: Vec<Exception>,
}

impl Exception {
    fn same_devices(&self, other: &Exception) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }

    /// Whether every device of `other` is one of this exception.
    fn covers(&self, other: &Exception) -> bool {
        let within = |mine: Option<u32>, other: Option<u32>| mine.is_none() || mine == other;
        self.kind == other.kind
            && within(self.major, other.major)
            && within(self.minor, other.minor)
    }

    /// Whether some device is in both.
    fn overlaps(&self, other: &Exception) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind && meet(self.major, other.major) && meet(self.minor, other.minor)
    }
}

impl fmt::Display for Exception {
    /// The kernel's form: `c 1:* rwm`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |n: Option<u32>| n.map_or("*".to_string(), |n| n.to_string());
        write!(
            f,
            "{} {}:{} ",
            if self.kind == BLOCK { 'b' } else { 'c' },
            number(self.major),
            number(self.minor)
        )?;
        for (bit, letter) in [(READ, "r"), (WRITE, "w"), (MKNOD, "m")] {
            if self.access & bit != 0 {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

impl Devices {
    /// The outcome of `rules`, applied to "everything is allowed". `None` if there are no rules.
    ///
    /// # Errors
    /// `InvalidParameter` for a rule that cannot be read or cannot be held.
    pub(super) fn from_rules(rules: &[LinuxDeviceCgroup]) -> Result<Option<Devices>> {
        if rules.is_empty() {
            return Ok(None);
        }
        let mut state = Devices { allow_by_default: true, exceptions: Vec::new() };
        for rule in rules {
            let access = parse_access(&rule.access)?;
            let (major, minor) = (device_number(rule.major)?, device_number(rule.minor)?);
            let kinds: &[u8] = match rule.kind.as_str() {
                "" | "a" if major.is_none() && minor.is_none() && access == ALL => {
                    state = Devices { allow_by_default: rule.allow, exceptions: Vec::new() };
                    continue;
                }
                "" | "a" => &[BLOCK, CHAR],
                "b" => &[BLOCK],
                "c" | "u" => &[CHAR],
                // A pipe has no device number, so there is nothing to decide.
                "p" => continue,
                kind => {
                    return Err(Error::invalid(format_args!("invalid device type {kind:?}")));
                }
            };
            for kind in kinds {
                state.apply(Exception { kind: *kind, major, minor, access }, rule.allow)?;
            }
        }
        Ok(Some(state))
    }

    fn apply(&mut self, rule: Exception, allow: bool) -> Result<()> {
        if allow != self.allow_by_default {
            match self.exceptions.iter_mut().find(|e| e.same_devices(&rule)) {
                Some(known) => known.access |= rule.access,
                None => self.exceptions.push(rule),
            }
            return Ok(());
        }
        for known in &mut self.exceptions {
            if rule.covers(known) {
                known.access &= !rule.access;
            } else if rule.overlaps(known) && known.access & rule.access != 0 {
                return Err(Error::invalid(format_args!(
                    "device rule \"{rule}\" takes a part out of the earlier rule \"{known}\", which \
                     device cgroups cannot express"
                )));
            }
        }
        self.exceptions.retain(|e| e.access != 0);
        Ok(())
    }

    /// Brings the v1 cgroup at `dir` into this state. A running container keeps what it may do
    /// before and after, at every moment between.
    pub(super) fn write_v1(&self, dir: &Path) -> Result<()> {
        let (reset, add, remove) = if self.allow_by_default {
            ("devices.allow", "devices.deny", "devices.allow")
        } else {
            ("devices.deny", "devices.allow", "devices.deny")
        };
        let list = control::read(dir, "devices.list")?;
        let now: Vec<&str> = list.lines().collect();
        // A list of exactly this line is the default "allow", perhaps with exceptions that it hides.
        let kept = if self.allow_by_default || now.contains(&"a *:* rwm") {
            control::write(dir, reset, "a")?;
            Vec::new()
        } else {
            now
        };
        for exception in &self.exceptions {
            let line = exception.to_string();
            if !kept.contains(&line.as_str()) {
                control::write(dir, add, &line)?;
            }
        }
        let wanted = |line: &str| {
            self.exceptions.iter().any(|e| {
                e.to_string() == line || parse_exception(line).is_some_and(|k| e.same_devices(&k))
            })
        };
        for line in &kept {
            if !wanted(line) {
                control::write(dir, remove, line)?;
                continue;
            }
            // Adding merges accesses; those that are no longer wanted go.
            if let Some(mut known) = parse_exception(line)
                && let Some(e) = self.exceptions.iter().find(|e| e.same_devices(&known))
                && known.access & !e.access != 0
            {
                known.access &= !e.access;
                control::write(dir, remove, &known.to_string())?;
            }
        }
        Ok(())
    }

    /// The program for a v2 cgroup.
    pub(super) fn program(&self) -> Vec<Insn> {
        const RESULT: u8 = 0;
        const CONTEXT: u8 = 1;
        let (kind, access, major, minor, scratch) = (2, 3, 4, 5, 6);
        let mut program = vec![
            Insn::load_u32(kind, CONTEXT, 0),
            Insn::copy(access, kind),
            Insn::and(kind, 0xffff),
            Insn::shift_right(access, 16),
            Insn::load_u32(major, CONTEXT, 4),
            Insn::load_u32(minor, CONTEXT, 8),
        ];
        for e in &self.exceptions {
            let limited = e.access != ALL;
            let tests = 1 + i16::from(e.major.is_some()) + i16::from(e.minor.is_some());
            // Instructions of this exception after the one being made; a test that fails skips them.
            let mut left = tests + if limited { 3 } else { 0 } + 2;
            let mut rest = || {
                left -= 1;
                left
            };
            program.push(Insn::skip_if_not(kind, i32::from(e.kind), rest()));
            for (register, number) in [(major, e.major), (minor, e.minor)] {
                if let Some(number) = number {
                    program.push(Insn::skip_if_not(register, number.cast_signed(), rest()));
                }
            }
            if limited {
                program.push(Insn::copy(scratch, access));
                program.push(Insn::and(scratch, i32::from(e.access)));
                program.push(if self.allow_by_default {
                    // One denied access in the request denies it.
                    Insn::skip_if(scratch, 0, 2)
                } else {
                    // All accesses of the request must be covered.
                    Insn::skip_if_differs(scratch, access, 2)
                });
            }
            program.push(Insn::set(RESULT, i32::from(!self.allow_by_default)));
            program.push(Insn::exit());
        }
        program.push(Insn::set(RESULT, i32::from(self.allow_by_default)));
        program.push(Insn::exit());
        program
    }
}

fn parse_access(text: &str) -> Result<u8> {
    if text.is_empty() {
        return Ok(ALL);
    }
    text.chars().try_fold(0, |access, letter| {
        Ok(access
            | match letter {
                'r' => READ,
                'w' => WRITE,
                'm' => MKNOD,
                _ => {
                    return Err(Error::invalid(format_args!("invalid device access {text:?}")));
                }
            })
    })
}

/// A number of a rule: absent or -1 is every number.
fn device_number(number: Option<i64>) -> Result<Option<u32>> {
    match number {
        None | Some(-1) => Ok(None),
        // Kernel device numbers have 12 bits of major and 20 of minor.
        Some(n) => match u32::try_from(n) {
            Ok(n) if n < 1 << 20 => Ok(Some(n)),
            _ => Err(Error::invalid(format_args!("invalid device number {n}"))),
        },
    }
}

/// A line of `devices.list`.
fn parse_exception(line: &str) -> Option<Exception> {
    let mut parts = line.split(' ');
    let (kind, device, access) = (parts.next()?, parts.next()?, parts.next()?);
    let (major, minor) = device.split_once(':')?;
    let number = |n: &str| if n == "*" { Some(None) } else { n.parse().ok().map(Some) };
    Some(Exception {
        kind: match kind {
            "b" => BLOCK,
            "c" => CHAR,
            _ => return None,
        },
        major: number(major)?,
        minor: number(minor)?,
        access: parse_access(access).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, text: &str) -> LinuxDeviceCgroup {
        let mut parts = text.split(' ');
        let kind = parts.next().unwrap().to_string();
        let device = parts.next().unwrap_or("*:*").split_once(':').unwrap();
        let number = |n: &str| n.parse().ok();
        LinuxDeviceCgroup {
            allow,
            kind,
            major: number(device.0),
            minor: number(device.1),
            access: parts.next().unwrap_or("").into(),
        }
    }

    fn state(rules: &[(bool, &str)]) -> Result<Devices> {
        let rules: Vec<_> = rules.iter().map(|(allow, text)| rule(*allow, text)).collect();
        Devices::from_rules(&rules).map(Option::unwrap)
    }

    fn lines(devices: &Devices) -> Vec<String> {
        devices.exceptions.iter().map(Exception::to_string).collect()
    }

    #[test]
    fn rules_fold_into_a_default_and_exceptions() {
        let devices = state(&[
            (true, "c 5:5 rwm"),
            (false, "a"),
            (true, "c *:* m"),
            (true, "c 1:3 r"),
            (true, "c 1:3 wm"),
            (true, "b 8:* rwm"),
            (true, "c 10:200 rwm"),
            (false, "c 10:200 w"),
            (true, "c 136:* rw"),
            (false, "c 136:* rw"),
        ])
        .unwrap();
        assert!(!devices.allow_by_default);
        assert_eq!(lines(&devices), ["c *:* m", "c 1:3 rwm", "b 8:* rwm", "c 10:200 rm"]);
    }

    #[test]
    fn holes_and_nonsense_are_refused() {
        let e = state(&[(false, "a"), (true, "c 1:* rwm"), (false, "c 1:3 w")]).unwrap_err();
        assert!(e.to_string().contains("\"c 1:3 w\" takes a part out of"), "{e}");
        assert!(state(&[(true, "z 1:3 r")]).is_err());
        assert!(state(&[(true, "c 1:3 rx")]).is_err());
        assert!(state(&[(true, "c 1:99999999 r")]).is_err());
        assert!(Devices::from_rules(&[]).unwrap().is_none());
    }

    #[test]
    fn an_all_rule_that_is_not_everything_counts_for_both_kinds() {
        let devices = state(&[(false, "a"), (true, "a *:* m")]).unwrap();
        assert_eq!(lines(&devices), ["b *:* m", "c *:* m"]);
    }

    /// What the state says about a request, without the program.
    fn decide(devices: &Devices, kind: u8, major: u32, minor: u32, access: u8) -> bool {
        let request = Exception { kind, major: Some(major), minor: Some(minor), access };
        let hit = devices.exceptions.iter().any(|e| {
            e.covers(&request)
                && if devices.allow_by_default {
                    e.access & access != 0
                } else {
                    e.access & access == access
                }
        });
        hit != devices.allow_by_default
    }

    #[test]
    fn the_program_decides_like_the_state() {
        for default in [false, true] {
            let devices = state(&[
                (default, "a"),
                (!default, "c *:* m"),
                (!default, "c 1:3 rw"),
                (!default, "b 8:* rwm"),
                (!default, "c 136:7 r"),
            ])
            .unwrap();
            let program = devices.program();
            for kind in [BLOCK, CHAR] {
                for (major, minor) in [(1, 3), (1, 4), (8, 0), (136, 7), (136, 8)] {
                    for access in 1..=7u8 {
                        let context = [u32::from(access) << 16 | u32::from(kind), major, minor];
                        assert_eq!(
                            crate::sys::bpf::run(&program, &context) == 1,
                            decide(&devices, kind, major, minor, access),
                            "{default} {kind} {major}:{minor} {access}"
                        );
                    }
                }
            }
        }
    }
}
