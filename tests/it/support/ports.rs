//! Ports that stay ours while nobody listens on them (a killed database, a refusing proxy).

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Below the kernel's range for outgoing connections (32768 up), so that none of these can take
/// a port between two listeners.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// A free port on 127.0.0.1, kept from other test processes by a lock file until dropped.
pub struct Reserved {
    port: u16,
    _lock: File,
}

impl Reserved {
    pub fn new() -> Reserved {
        let folder = std::env::temp_dir().join("hyperdesk-it-ports");
        std::fs::create_dir_all(&folder).expect("a folder for the port locks");
        for _ in 0..1_000 {
            let port = fastrand::u16(RANGE);
            let lock = File::create(folder.join(port.to_string())).expect("a port lock file");
            let ours = lock.try_lock().is_ok();
            if ours && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Reserved { port, _lock: lock };
            }
        }
        panic!("no free port in {RANGE:?}");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}
