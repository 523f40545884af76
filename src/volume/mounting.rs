//! Volumes with options are mounted in the place of their directory while somebody uses them.
//!
//! Who uses a volume is known from the containers that run, also after a restart of the daemon: it tells
//! the store of them before it [sweeps](Store::sweep) the others. So nothing is counted on disk.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::options::{Options, share_host};
use super::{DATA, Store, make_data};
use crate::base::{At, Error, Result};
use crate::http::resolve;
use crate::sys::mount::{self, MntFlags};
use crate::sys::mountflags;

impl Store {
    /// Makes the volume `name` ready for `user`, who tells with [`Store::unuse`] that it is over, and gives
    /// its directory. A volume with options is mounted by its first user.
    ///
    /// # Errors
    /// `NotFound` with Docker's text; `InvalidParameter` if its options are damaged; `Io` with the
    /// kernel's reason, after `failed to mount local volume`.
    pub fn use_mounted(&self, name: &str, user: &str) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        let path = dir.join(DATA);
        let slot = self.slots.get(name);
        let mut busy = slot.begin();
        if !dir.is_dir() {
            return Err(Error::not_found(format_args!("get {name}: no such volume")));
        }
        if !path.is_dir() {
            // Somebody took it away by hand.
            make_data(&path)?;
        }
        let options = Options::load(&dir)?;
        if options.quota.size_bytes > 0 {
            return Err(Error::unsupported("size quota requested for volume but no quota support"));
        }
        if options.needs_mount() && !mount::is_mount_point(&path)? {
            mount_on(&options, &path)?;
        }
        busy.users.insert(user.into());
        Ok(path)
    }

    /// Says that `user`, who was there before this process, uses the volume `name`.
    pub fn adopt_user(&self, name: &str, user: &str) {
        self.slots.get(name).begin().users.insert(user.into());
    }

    /// `user` does not use the volume `name` any more. The last one of a volume with options unmounts it.
    /// Tells whether it did use it.
    ///
    /// # Errors
    /// `Io` if the kernel refuses; the user is forgotten all the same.
    pub fn unuse(&self, name: &str, user: &str) -> Result<bool> {
        let slot = self.slots.get(name);
        let mut busy = slot.begin();
        let was_used = busy.users.remove(user);
        if was_used && busy.users.is_empty() {
            self.unmount_if_ours(name)?;
        }
        Ok(was_used)
    }

    /// Unmounts the volume `name` if it has options and is mounted. Its lock is held by the caller.
    pub(super) fn unmount_if_ours(&self, name: &str) -> Result<()> {
        let dir = self.dir.join(name);
        let path = dir.join(DATA);
        // Damaged options are those of nobody who could have mounted anything.
        let needs_mount = Options::load(&dir).is_ok_and(|options| options.needs_mount());
        if needs_mount && mount::is_mount_point(&path)? {
            mount::unmount(&path, MntFlags::MNT_DETACH)?;
        }
        Ok(())
    }

    /// Unmounts what a daemon that is gone mounted for containers that are gone.
    pub(super) fn unmount_unused(&self) {
        let table = match mount::table() {
            Ok(table) => table,
            Err(e) => return log::warn!("looking for mounted volumes: {e}"),
        };
        let names = table.iter().filter_map(|mount| {
            let below = mount.target.strip_prefix(&self.dir).ok()?;
            let name = below.parent()?.to_str()?;
            (below.ends_with(DATA) && !name.is_empty() && !name.contains('/')).then_some(name)
        });
        for name in names {
            let slot = self.slots.get(name);
            let busy = slot.begin();
            if busy.users.is_empty()
                && let Err(e) = self.unmount_if_ours(name)
            {
                log::warn!("unmounting volume {name}: {e}");
            }
        }
    }
}

/// Mounts what `options` name on `path`.
fn mount_on(options: &Options, path: &Path) -> Result<()> {
    if options.device.is_empty() {
        return Err(Error::invalid("missing device in volume options"));
    }
    let (device, words) = resolved(options)?;
    let parsed = mountflags::parse(&words);
    let mount = |flags, data: &str| {
        let data = (!data.is_empty()).then(|| OsStr::new(data));
        nix::mount::mount(Some(Path::new(&device)), path, Some(options.kind.as_str()), flags, data)
    };
    let show = |data: &str| {
        let shown = hide_password(data);
        let data = if shown.is_empty() { shown } else { format!(", data: {shown}") };
        let flags = match parsed.set.bits() {
            0 => String::new(),
            bits => format!(", flags: {bits:#x}"),
        };
        format!("failed to mount local volume: mount {device}:{}{flags}{data}", path.display())
    };
    mount(parsed.set, &parsed.data).map_err(|e| Error::from(e).at(show(&parsed.data)))?;
    // Propagation, and read-only binds, take a call of their own each.
    let undo = || drop(mount::unmount(path, MntFlags::MNT_DETACH));
    for flags in parsed.second_calls() {
        mount::mount(None, path, None, flags, None)
            .at("failed to mount local volume")
            .inspect_err(|_| undo())?;
    }
    Ok(())
}

/// Device and mount options, with the names of servers replaced by their addresses: the kernel knows no
/// names.
fn resolved(options: &Options) -> Result<(String, String)> {
    let address = |name: &str| -> Result<String> {
        let found = resolve::lookup(name).at("error resolving passed in network volume address")?;
        Ok(found.first().map(ToString::to_string).unwrap_or_default())
    };
    let is_address = |text: &str| text.parse::<std::net::IpAddr>().is_ok();
    let (mut device, mut words) = (options.device.clone(), options.options.clone());
    if !matches!(options.kind.as_str(), "nfs" | "cifs") {
        return Ok((device, words));
    }
    let given = words.split(',').find_map(|word| word.strip_prefix("addr=")).map(str::to_string);
    match given.filter(|name| !name.is_empty()) {
        Some(name) if !is_address(&name) => {
            words =
                words.replacen(&format!("addr={name}"), &format!("addr={}", address(&name)?), 1);
        }
        _ if options.kind == "cifs" => {
            if let Some(host) = share_host(&device).filter(|host| !is_address(host)) {
                device = device.replacen(host, &address(host)?, 1);
            }
        }
        _ => {}
    }
    Ok((device, words))
}

fn hide_password(data: &str) -> String {
    let shown = |word: &str| match word.strip_prefix("password=") {
        Some(_) => "password=********".to_string(),
        None => word.to_string(),
    };
    data.split(',').map(shown).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_given_to_the_kernel_by_address() {
        let options = |kind: &str, device: &str, words: &str| Options {
            kind: kind.into(),
            device: device.into(),
            options: words.into(),
            ..Options::default()
        };
        for (given, device, words) in [
            (
                options("nfs", ":/x", "addr=localhost,rw,nfsvers=4"),
                ":/x",
                "addr=127.0.0.1,rw,nfsvers=4",
            ),
            (options("nfs", ":/x", "addr=10.0.0.1"), ":/x", "addr=10.0.0.1"),
            (options("cifs", "//localhost/s", "user=a"), "//127.0.0.1/s", "user=a"),
            (options("cifs", "//localhost/s", "addr=::1"), "//::1/s", "addr=::1"),
            (options("tmpfs", "tmpfs", "addr=localhost"), "tmpfs", "addr=localhost"),
        ] {
            let (have_device, have_words) = resolved(&given).unwrap();
            if given.options == "addr=::1" {
                assert_eq!(have_words, words);
                continue;
            }
            assert_eq!((have_device.as_str(), have_words.as_str()), (device, words));
        }
        let e = resolved(&options("nfs", ":/x", "addr=no-such-host.invalid")).unwrap_err();
        assert!(e.to_string().starts_with("error resolving passed in network volume address"));
    }

    #[test]
    fn passwords_are_not_told() {
        assert_eq!(hide_password("user=a,password=b"), "user=a,password=********");
    }
}
