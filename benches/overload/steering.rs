//! On which core the kernel does a client's half of a connection.
//!
//! On loopback a packet is taken to its receiver within the system call that sends it. So the server pays from its quota
//! for its clients' sockets too, which in a crowd have left the caches, as it would not if they were on a machine of
//! their own. Receive flow steering (`Documentation/networking/scaling.rst` of the kernel) hands a packet to the core
//! whose program reads that socket. What comes in is then charged to neither program.

use std::fs;

/// More flows than there are clients: what the kernel remembers of them is a power of two.
const FLOWS: &str = "65536";
/// The cores that may take packets, as hexadecimal bits: the first two, as each side has one thread.
const CORES: &str = "3";

const SETTINGS: [(&str, &str); 3] = [
    ("/proc/sys/net/core/rps_sock_flow_entries", FLOWS),
    ("/sys/class/net/lo/queues/rx-0/rps_flow_cnt", FLOWS),
    ("/sys/class/net/lo/queues/rx-0/rps_cpus", CORES),
];

/// Loopback is steered until this is dropped.
pub struct Steering(Vec<(&'static str, String)>);

impl Steering {
    /// Steers packets on loopback to the core of their reader.
    ///
    /// # Errors
    /// What is missing, for a person.
    pub fn start() -> Result<Self, String> {
        let mut before = Self(Vec::new());
        for (file, text) in SETTINGS {
            let told = |error| format!("{file}: {error} (it takes root, and a kernel with RPS)");
            let was = fs::read_to_string(file).map_err(told)?;
            fs::write(file, text).map_err(told)?;
            before.0.push((file, was));
        }
        Ok(before)
    }
}

impl Drop for Steering {
    fn drop(&mut self) {
        for (file, was) in self.0.iter().rev() {
            let _as_it_is = fs::write(file, was.trim());
        }
    }
}
