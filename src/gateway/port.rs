//! Who holds a port, as far as `/proc` tells, and how long it is worth waiting for it.
//!
//! A port can be taken without anybody listening: as the local end of a connection somebody else
//! opened, or of one that has closed and whose last packets may still be under way (`TIME_WAIT`).

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;

/// How long a port is waited for that nobody listens on.
const WAIT: Duration = Duration::from_secs(2);
/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// Most processes that are looked at.
const PROCESSES_MAX: usize = 10_000;

/// The states of `/proc/net/tcp` that matter.
const LISTENING: &str = "0A";
const TIME_WAIT: &str = "06";

/// What keeps a port from being listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A socket that listens there, by its inode.
    Listener(u64),
    /// A connection whose local end it is, by its inode.
    Connection(u64),
    /// A connection that has closed; it lets go within a minute.
    TimeWait,
    /// Nothing that is listed: a socket that is bound only, or something that just went.
    Unlisted,
    /// This system does not tell.
    Unknown,
}

/// A process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) pid: u32,
    pub(crate) name: String,
}

/// Listens on an address, and waits a moment when the port is taken and nobody listens there.
///
/// # Errors
/// The last failure.
///
/// # Cancel safety
/// Cancel safe.
pub(super) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let deadline = Instant::now() + WAIT;
    let mut is_told = false;
    loop {
        let error = match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        let is_taken = error.kind() == io::ErrorKind::AddrInUse;
        if !is_taken || !holder(address).may_let_go() || Instant::now() >= deadline {
            return Err(error);
        }
        if !is_told {
            is_told = true;
            tracing::info!(
                %address,
                "nobody listens on the port, but a connection still has it; waiting"
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What keeps `address` from being listened on.
pub(crate) fn holder(address: SocketAddr) -> Holder {
    let tables = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/net/{table}")));
    let readable = tables.iter().flatten();
    if readable.clone().next().is_none() {
        return Holder::Unknown;
    }
    let found = readable.flat_map(|table| holders(table, address));
    found
        .min_by_key(|holder| holder.rank())
        .unwrap_or(Holder::Unlisted)
}

impl Holder {
    /// Whether it is worth waiting.
    const fn may_let_go(self) -> bool {
        match self {
            Self::Connection(_) | Self::TimeWait | Self::Unlisted => true,
            Self::Listener(_) | Self::Unknown => false,
        }
    }

    /// The lower, the more it is the reason.
    const fn rank(self) -> u8 {
        match self {
            Self::Listener(_) => 0,
            Self::Connection(_) => 1,
            Self::TimeWait => 2,
            Self::Unlisted | Self::Unknown => 3,
        }
    }
}

/// The sockets in the text of `/proc/net/tcp` that are in the way of `wanted`.
fn holders(table: &str, wanted: SocketAddr) -> impl Iterator<Item = Holder> + '_ {
    table.lines().skip(1).filter_map(move |line| {
        let mut fields = line.split_whitespace();
        let local = address(fields.nth(1)?)?;
        let state = fields.nth(1)?;
        if local.port() != wanted.port() || !overlap(local.ip(), wanted.ip()) {
            return None;
        }
        let inode = fields.nth(5)?.parse().ok()?;
        Some(match (state, inode) {
            (LISTENING, _) => Holder::Listener(inode),
            // No process has it any more.
            (TIME_WAIT, _) | (_, 0) => Holder::TimeWait,
            (_, _) => Holder::Connection(inode),
        })
    })
}

/// Whether two local addresses cannot have the same port: they are one, or one is every address.
fn overlap(one: IpAddr, other: IpAddr) -> bool {
    let (one, other) = (one.to_canonical(), other.to_canonical());
    one == other || one.is_unspecified() || other.is_unspecified()
}

/// Reads `0100007F:4965`: words in the order of this machine's memory.
fn address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = words.get(at..at.checked_add(8)?)?;
        Some(u32::from_str_radix(word, 16).ok()?.to_ne_bytes())
    };
    let ip = match words.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(index * 8)?);
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The process that has a socket; `None` when it is another user's, or when nobody has it.
pub(crate) fn owner(inode: u64) -> Option<Owner> {
    let socket = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.take(PROCESSES_MAX);
    let pid = processes.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        holds(&entry.path(), &socket).then_some(pid)
    })?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(Owner {
        pid,
        name: name.trim().to_owned(),
    })
}

fn holds(process: &Path, socket: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    let mut targets = descriptors
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    targets.any(|target| target.as_os_str() == socket)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener as StdListener, TcpStream};

    use socket2::{Domain, Socket, Type};

    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:4965 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0 100 0 0 10 0
   1: 0100007F:4966 0100007F:4965 01 00000000:00000000 00:00000000 00000000     0        0 12346 1 0 20 4 30 10 -1
   2: 0100007F:4967 0100007F:4965 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0
   3: 00000000:4968 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12347 1 0 100 0 0 10 0
   4: 00000000000000000000000001000000:4969 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12348 1 0 100 0 0 10 0
   5: 0000000000000000FFFF00000100007F:496A 0000000000000000FFFF00000100007F:4965 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0
   6: broken
";

    #[test]
    #[cfg(target_endian = "little")]
    fn what_is_in_the_way_is_told_apart() {
        let check = |wanted: &str, expected: Option<Holder>| {
            let found = holders(TABLE, wanted.parse().unwrap()).next();
            assert_eq!(found, expected, "{wanted}");
        };
        check("127.0.0.1:18789", Some(Holder::Listener(12345)));
        check("0.0.0.0:18789", Some(Holder::Listener(12345)));
        check("192.168.1.5:18789", None);
        check("127.0.0.1:18790", Some(Holder::Connection(12346)));
        check("127.0.0.1:18791", Some(Holder::TimeWait));
        check("192.168.1.5:18792", Some(Holder::Listener(12347)));
        check("[::1]:18793", Some(Holder::Listener(12348)));
        check("127.0.0.1:18793", None);
        check("127.0.0.1:18794", Some(Holder::TimeWait));
        check("127.0.0.1:80", None);
    }

    /// A connection whose local end is a port of its own, both ends, and that port.
    fn connection() -> (TcpStream, TcpStream, SocketAddr) {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket
            .bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
            .unwrap();
        socket
            .connect(&listener.local_addr().unwrap().into())
            .unwrap();
        let near = TcpStream::from(socket);
        let address = near.local_addr().unwrap();
        let (far, _peer) = listener.accept().unwrap();
        (near, far, address)
    }

    #[tokio::test]
    async fn a_listener_is_no_reason_to_wait() {
        let taken = StdListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let started = Instant::now();
        let error = listen(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(started.elapsed() < WAIT / 2);
        let Holder::Listener(inode) = holder(address) else {
            panic!("a listener is one");
        };
        assert_eq!(owner(inode).unwrap().pid, std::process::id());
    }

    #[tokio::test]
    async fn the_local_end_of_a_connection_is_waited_for() {
        let (near, far, address) = connection();
        assert!(matches!(holder(address), Holder::Connection(_)));
        let waiting = listen(address);
        let closing = async {
            tokio::time::sleep(PAUSE).await;
            // Whoever closes second has nothing left to wait for.
            drop(far);
            (&near).read_exact(&mut [0]).unwrap_err();
            drop(near);
        };
        let (listener, ()) = tokio::join!(waiting, closing);
        assert_eq!(listener.unwrap().local_addr().unwrap(), address);
    }

    #[tokio::test]
    async fn a_connection_that_has_closed_is_told_from_a_listener() {
        let (near, mut far, address) = connection();
        drop(near);
        far.read_to_end(&mut Vec::new()).unwrap();
        drop(far);
        let closed = async {
            while holder(address) != Holder::TimeWait {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(WAIT, closed).await.unwrap();
        // How long it lasts is the kernel's business; that it is waited for is ours.
        let started = Instant::now();
        let error = listen(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(started.elapsed() >= WAIT);
    }
}
