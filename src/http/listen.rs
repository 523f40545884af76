//! Listening sockets: unix with mode and group, TCP, TLS, and those that systemd passed on.
//!
//! A unix socket file that nobody listens on any more is replaced; one that answers is another daemon
//! and an error. The file gets its group and mode between bind(2) and listen(2), so that there is no
//! moment with wider access.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, bind,
    getsockname, listen, setsockopt, socket, sockopt,
};
use rustls::ServerConfig;

use super::address::Address;
use super::resolve;
use crate::base::{At, Error, Result};
use crate::sys;

/// A socket that clients connect to.
pub struct Listener {
    socket: Socket,
    tls: Option<Arc<ServerConfig>>,
    name: String,
    /// The file of a unix socket that we made, and its inode; to be removed at the end.
    file: Option<(PathBuf, u64)>,
}

enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// How sockets are made.
#[derive(Clone, Default)]
pub struct Options {
    /// Group of unix sockets; root's if absent.
    pub group: Option<u32>,
    /// With it, TCP sockets speak TLS.
    pub tls: Option<Arc<ServerConfig>>,
}

impl Listener {
    /// Listens on `address`; several sockets for `fd://` and for names with several addresses.
    ///
    /// # Errors
    /// `Io` that names the address; `InvalidParameter` for `fd://` without inherited sockets.
    pub fn bind(address: &Address, options: &Options) -> Result<Vec<Listener>> {
        match address {
            Address::Unix(path) => Ok(vec![bind_unix(path, options.group)?]),
            Address::Tcp { host, port, .. } => bind_tcp(host, *port, address, options),
            Address::Inherited(number) => inherited(*number, options),
        }
    }

    /// The address as the log shows it: `/var/run/docker.sock`, `127.0.0.1:2375`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this is a TCP socket, which other machines may reach.
    pub fn is_tcp(&self) -> bool {
        matches!(self.socket, Socket::Tcp(_))
    }

    /// The configuration of TLS, if clients must speak it.
    pub fn tls(&self) -> Option<&Arc<ServerConfig>> {
        self.tls.as_ref()
    }

    /// The next connection; `WouldBlock` if there is none now.
    ///
    /// # Errors
    /// Those of accept4(2).
    pub fn accept(&self) -> io::Result<OwnedFd> {
        match &self.socket {
            Socket::Unix(listener) => Ok(listener.accept()?.0.into()),
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                // Finds out about peers that vanished without a word.
                setsockopt(&stream, sockopt::KeepAlive, &true)?;
                Ok(stream.into())
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Unix(listener) => listener.as_fd(),
            Socket::Tcp(listener) => listener.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some((file, inode)) = &self.file
            // A daemon that came after us may have put its own there.
            && fs::symlink_metadata(file).is_ok_and(|meta| meta.ino() == *inode)
        {
            let _ = fs::remove_file(file);
        }
    }
}

fn bind_unix(path: &Path, group: Option<u32>) -> Result<Listener> {
    let what = || format!("can't create unix socket {}", path.display());
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(Error::conflict("the path exists and is no socket").at(what()));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err(Error::conflict("another process listens on it").at(what()));
        }
        _ => {}
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).at(what())?;
    }
    let make = || -> Result<UnixListener> {
        if fs::symlink_metadata(path).is_ok() {
            fs::remove_file(path)?;
        }
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(path, Some(0), Some(group.unwrap_or(0)))?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
        listen(&socket, Backlog::MAXCONN)?;
        Ok(UnixListener::from(socket))
    };
    let listener = make().at(what())?;
    let inode = fs::symlink_metadata(path).at(what())?.ino();
    Ok(Listener {
        socket: Socket::Unix(listener),
        tls: None,
        name: path.display().to_string(),
        file: Some((path.to_path_buf(), inode)),
    })
}

fn bind_tcp(host: &str, port: u16, address: &Address, options: &Options) -> Result<Vec<Listener>> {
    let mut list = Vec::new();
    for socket in resolve::addresses(host, port).at(format_args!("listening on {address}"))? {
        // A name such as localhost may have an address whose family this kernel does not have.
        match TcpListener::bind(socket) {
            Ok(listener) => list.push(from_tcp(listener, options)?),
            Err(e) if e.raw_os_error() == Some(libc::EADDRNOTAVAIL) && !list.is_empty() => {}
            Err(e) if e.raw_os_error() == Some(libc::EAFNOSUPPORT) && !list.is_empty() => {}
            Err(e) => return Err(e).at(format_args!("listening on tcp {socket}")),
        }
    }
    Ok(list)
}

fn from_tcp(listener: TcpListener, options: &Options) -> Result<Listener> {
    let name = listener.local_addr().at("naming a socket")?.to_string();
    listener.set_nonblocking(true).at("preparing a socket")?;
    Ok(Listener { socket: Socket::Tcp(listener), tls: options.tls.clone(), name, file: None })
}

/// Text that tells the user what is wrong when `fd://` finds no socket.
const NO_SOCKETS: &str =
    "no sockets found via socket activation: make sure the service was started by systemd";

fn inherited(number: Option<i32>, options: &Options) -> Result<Vec<Listener>> {
    let sockets = sys::listenfds::take(number)?;
    match number {
        Some(number) if sockets.is_empty() => {
            return Err(Error::invalid(format_args!(
                "failed to find systemd activated fd {number}: {NO_SOCKETS}"
            )));
        }
        None if sockets.is_empty() => return Err(Error::invalid(NO_SOCKETS)),
        _ => {}
    }
    sockets.into_iter().map(|(number, socket)| from_inherited(number, socket, options)).collect()
}

fn from_inherited(number: i32, socket: OwnedFd, options: &Options) -> Result<Listener> {
    let address: SockaddrStorage =
        getsockname(socket.as_raw_fd()).at(format_args!("using activated descriptor {number}"))?;
    match address.family() {
        Some(AddressFamily::Unix) => {
            let listener = UnixListener::from(socket);
            listener.set_nonblocking(true).at("preparing a socket")?;
            let name = listener
                .local_addr()
                .ok()
                .and_then(|a| a.as_pathname().map(|path| path.display().to_string()));
            Ok(Listener {
                socket: Socket::Unix(listener),
                tls: None,
                name: name.unwrap_or_else(|| format!("fd {number}")),
                file: None,
            })
        }
        Some(AddressFamily::Inet | AddressFamily::Inet6) => {
            from_tcp(TcpListener::from(socket), options)
        }
        _ => Err(Error::invalid(format_args!(
            "activated descriptor {number} is neither a unix nor a TCP socket"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = std::env::temp_dir().join(format!("listen-{}", sys::random::u64()));
        fs::create_dir(&dir).unwrap();
        let address = Address::Unix(dir.join("s"));
        drop(UnixListener::bind(dir.join("s")).unwrap());
        let options = Options::default();
        let first = Listener::bind(&address, &options).unwrap();
        let meta = fs::metadata(dir.join("s")).unwrap();
        assert_eq!((meta.mode() & 0o777, meta.gid()), (0o660, 0));
        assert!(Listener::bind(&address, &options).is_err());
        drop(first);
        assert!(!dir.join("s").exists());
        fs::write(dir.join("s"), "data").unwrap();
        assert!(Listener::bind(&address, &options).is_err());
        assert_eq!(fs::read(dir.join("s")).unwrap(), b"data");
        fs::remove_dir_all(&dir).unwrap();
    }
}
