//! Child processes that die with the test process, and its folder, which is removed with it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::eventually_some;

/// A running child: killed and reaped on drop.
pub struct Child {
    pid: Pid,
    inner: Mutex<std::process::Child>,
}

/// A command for `program` (an absolute path) that the kernel kills when we die, even by SIGKILL.
pub fn command(program: &Path) -> Command {
    static SETPRIV: OnceLock<Option<PathBuf>> = OnceLock::new();
    match SETPRIV.get_or_init(|| find("setpriv")) {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// Where `name` is installed: the first of [`find_all`].
pub fn find(name: &str) -> Option<PathBuf> {
    find_all(name).next()
}

/// All places of `name`: in `PATH`, where `deploy/local/test` unpacks programs, and where servers are, which is
/// not in everyone's `PATH`.
pub fn find_all(name: &str) -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join(".local/tools/bin");
    let servers = ["/usr/sbin", "/usr/local/sbin", "/usr/libexec"].map(PathBuf::from);
    let folders = path.into_iter().chain([unpacked]).chain(servers);
    folders.map(|folder| folder.join(name)).filter(|file| file.is_file()).collect::<Vec<_>>().into_iter()
}

type Order = (Command, Sender<io::Result<std::process::Child>>);

/// Spawns on one thread that never ends: the parent-death signal comes when the *thread* that
/// spawned ends, and the test's own thread ends before, say, the shared database may.
fn spawn_on_lasting_thread(command: Command) -> io::Result<std::process::Child> {
    static NURSERY: OnceLock<Sender<Order>> = OnceLock::new();
    let nursery = NURSERY.get_or_init(|| {
        let (orders, work): (Sender<Order>, Receiver<Order>) = channel();
        std::thread::spawn(move || {
            for (mut command, answer) in work {
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, result) = channel();
    nursery.send((command, answer)).expect("the nursery thread lives");
    result.recv().expect("the nursery thread answers")
}

impl Child {
    pub fn spawn(command: Command) -> io::Result<Child> {
        let inner = spawn_on_lasting_thread(command)?;
        let pid = Pid::from_child(&inner);
        Ok(Child { pid, inner: Mutex::new(inner) })
    }

    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// The pipes, once: `None` if they were not asked for or are taken.
    pub fn take_output(&self) -> (Option<std::process::ChildStdout>, Option<std::process::ChildStderr>) {
        let mut inner = self.inner.lock().unwrap();
        (inner.stdout.take(), inner.stderr.take())
    }

    /// The exit status if it has ended.
    pub fn exited(&self) -> Option<ExitStatus> {
        let mut inner = self.inner.lock().unwrap();
        inner.try_wait().expect("wait for a child")
    }

    /// Does nothing if the child has ended (its pid may be another's by then).
    fn signal(&self, signal: Signal) {
        let mut inner = self.inner.lock().unwrap();
        if inner.try_wait().expect("wait for a child").is_none() {
            kill_process(self.pid, signal).expect("signal a child");
        }
    }

    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL, and gone when this returns.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        let _ = self.inner.lock().unwrap().wait();
    }

    /// Panics if it still runs after `limit`.
    pub async fn wait_exit(&self, limit: Duration) -> ExitStatus {
        eventually_some(limit, || async { self.exited() }).await
    }

    /// Resident memory now, in bytes.
    pub fn rss_bytes(&self) -> u64 {
        let pages: u64 = self.proc_file("statm").split(' ').nth(1).unwrap().parse().unwrap();
        pages * u64::try_from(rustix::param::page_size()).unwrap()
    }

    /// The most that it was ever.
    pub fn peak_rss_bytes(&self) -> u64 {
        let status = self.proc_file("status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
        peak.expect("Linux tells it").trim().parse::<u64>().unwrap() * 1_024
    }

    pub fn open_fds(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the child runs").count()
    }

    pub fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the child runs").count()
    }

    /// Processor time used so far, user and system, all threads.
    pub fn cpu_time(&self) -> Duration {
        let stat = self.proc_file("stat");
        // The second field is the name in brackets and may hold spaces; 14 and 15 are the times.
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        let ticks: u64 = rest.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second())
    }

    fn proc_file(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.pid())).expect("the child runs")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A folder for this test process, with a short path (a socket's may have 107 bytes).
///
/// Statics are not dropped, so a small shell removes it: it waits for the end of its standard
/// input, whose other end only we hold. It is in its own process group, out of Ctrl-C's reach.
pub fn run_folder() -> &'static Path {
    use std::os::unix::process::CommandExt;
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("hyperdesk-it-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder for this run");
        let script = r#"trap '' INT TERM HUP; read -r _; until rm -rf "$0"; do sleep 0.1; done"#;
        let mut reaper = Command::new("/bin/sh");
        reaper.args(["-c", script]).arg(&folder).process_group(0);
        reaper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // Never waited for: it ends after us. Its standard input stays open until we end.
        std::mem::forget(reaper.spawn().expect("start the reaper"));
        folder
    })
}

/// A fresh folder inside the run's.
pub fn fresh_folder(purpose: &str) -> PathBuf {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = run_folder().join(format!("{purpose}{number}"));
    std::fs::create_dir_all(&folder).expect("a fresh folder");
    folder
}
