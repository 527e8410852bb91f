//! The log: a line never blocks who writes it and never makes them panic.
//!
//! Lines go into a queue in memory, and one thread writes them to the standard output. So a disk that is full, a
//! reader that is gone, or a pipe that nobody reads stops that thread at most. What has no room in the queue, and
//! what could not be written, is dropped and counted (`log_lines_dropped_total`); once writing works again a line
//! says how many were. A panic's message goes the same way: the standard library's own would wait for the standard
//! error.
//!
//! The queue is a mutex over a block of bytes, held while one line is copied and never while anything is written.
//! (tracing-appender was looked at: it does not count what could not be written, bounds its queue in lines and not
//! in bytes, and says that its thread is stuck by a `println!`, which then is stuck, too.)

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};
use crate::metrics;

/// The longest line; the rest of a longer one is cut off. Docker and Kubernetes cut at this length, too.
pub const LINE_BYTES_MAX: usize = 16 * 1024;
/// Lines in memory that were not written yet. As much again may be under way: some 20 seconds of the most that
/// failing requests log.
pub const QUEUE_BYTES_MAX: usize = 256 * 1024;
/// How long the end of the process waits for what is queued to be written.
pub const FLUSH_MS_MAX: u64 = 1_000;
/// Pause before the next attempt at an output that does not block and is full, as a pipe shared with another
/// program may be.
const AGAIN_MS: u64 = 10;

const _: () = assert!(LINE_BYTES_MAX < QUEUE_BYTES_MAX);

/// What a panic says.
#[must_use]
pub fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let literal = payload.downcast_ref::<&str>().copied();
    literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

/// The running log. Dropping it waits for what is queued, for [`FLUSH_MS_MAX`] at most.
pub struct Log {
    queue: Arc<LineQueue>,
    dropped: IntCounterVec,
}

impl Log {
    /// Starts logging, for the whole process, to the standard output; panics are logged, too.
    ///
    /// # Errors
    /// When the standard output cannot be had, or no thread; the text says so.
    pub fn start(config: &Config) -> Result<Self, String> {
        // The configuration was refused if it were wrong.
        let filter = EnvFilter::builder().parse_lossy(&config.log_filter);
        let log = Self::new().map_err(|error| error.to_string())?;
        // Not `io::stdout()` itself: that keeps what it could not write, and tries it again before all else.
        let output = io::stdout().as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
        let queue = log.queue.clone();
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || queue.write_on(File::from(output)))
            .map_err(|error| error.to_string())?;
        let lines = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_target(true)
            .with_writer(log.queue.clone());
        match config.log_format {
            LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).init(),
            LogFormat::Text => lines.with_ansi(io::stdout().is_terminal()).init(),
        }
        std::panic::set_hook(Box::new(tell_panic));
        Ok(log)
    }

    fn new() -> Result<Self, prometheus::Error> {
        let about = Opts::new("log_lines_dropped_total", "Log lines that were not written, by reason.");
        let dropped = IntCounterVec::new(about, &["reason"])?;
        let queue = LineQueue {
            state: Mutex::default(),
            arrived: Condvar::new(),
            written: Condvar::new(),
            queue_full: dropped.with_label_values(&["queue_full"]),
            write_failed: dropped.with_label_values(&["write_failed"]),
        };
        Ok(Self { queue: Arc::new(queue), dropped })
    }

    /// Adds what is counted to `registry`.
    ///
    /// # Errors
    /// When the metric's name is taken: a mistake of ours.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        metrics::registered(registry, self.dropped.clone()).map(drop)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.flush(Duration::from_millis(FLUSH_MS_MAX));
    }
}

fn tell_panic(panic: &PanicHookInfo<'_>) {
    let current = std::thread::current();
    let location = panic.location().map(ToString::to_string);
    // There where RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        cause = panic_text(panic.payload()),
        location,
        thread = current.name(),
        backtrace,
        "panicked"
    );
}

/// Lines on their way to the output.
struct LineQueue {
    state: Mutex<LogBuffer>,
    /// Told when there is something again.
    arrived: Condvar,
    /// Told when what was taken is written, or dropped.
    written: Condvar,
    queue_full: IntCounter,
    write_failed: IntCounter,
}

#[derive(Default)]
struct LogBuffer {
    lines: Vec<u8>,
    is_writing: bool,
}

/// One call is one line: the subscriber makes each in a buffer of its own.
impl Write for &LineQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LineQueue {
    fn state(&self) -> MutexGuard<'_, LogBuffer> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let kept = cut(line);
        let mut state = self.state();
        let was_empty = state.lines.is_empty();
        if state.lines.len() + kept.len() >= QUEUE_BYTES_MAX {
            drop(state);
            self.queue_full.inc();
            return;
        }
        state.lines.extend_from_slice(kept);
        if kept.len() < line.len() {
            state.lines.push(b'\n');
        }
        drop(state);
        if was_empty {
            self.arrived.notify_one();
        }
    }

    /// Waits until all that was queued is written or dropped.
    fn flush(&self, limit: Duration) {
        let is_busy = |state: &mut LogBuffer| state.is_writing || !state.lines.is_empty();
        let _state_or_late = self.written.wait_timeout_while(self.state(), limit, is_busy);
    }

    /// Writes to `output` for as long as the process lives.
    fn write_on(&self, mut output: impl Write) {
        let (mut batch, mut told, mut is_torn) = (Vec::new(), 0, false);
        loop {
            let mut state = self.state();
            state.is_writing = false;
            self.written.notify_all();
            let there_is_none = |state: &mut LogBuffer| state.lines.is_empty();
            let arrived = self.arrived.wait_while(state, there_is_none);
            let mut state = arrived.unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut state.lines, &mut batch);
            state.is_writing = true;
            drop(state);

            // The next line does not go on where a failed one broke off.
            is_torn = is_torn && write_all(&mut output, b"\n").is_err();
            match if is_torn { Err(0) } else { write_all(&mut output, &batch) } {
                Ok(()) => self.tell_lost(&mut told),
                Err(count) => {
                    let lost = memchr::memchr_iter(b'\n', &batch[count..]).count();
                    self.write_failed.inc_by(lost as u64);
                    is_torn |= batch[..count].last().is_some_and(|last| *last != b'\n');
                }
            }
            batch.clear();
        }
    }

    /// Says how many lines were lost until now, where it was not said. That line takes its turn like any other, and
    /// where it is lost itself, it is said again after the next that are written.
    fn tell_lost(&self, told: &mut u64) {
        let count = || self.queue_full.get() + self.write_failed.get();
        let lines = count();
        if lines == *told {
            return;
        }
        tracing::warn!(lines, "log lines were lost: so many since the process was started");
        if count() == lines {
            *told = lines;
        }
    }
}

/// As much of a line as is kept; without its end, and at the end of a character, where it is too long.
fn cut(line: &[u8]) -> &[u8] {
    if line.len() <= LINE_BYTES_MAX {
        return line;
    }
    let mut end = LINE_BYTES_MAX - 1;
    while end > 0 && line[end] & 0b1100_0000 == 0b1000_0000 {
        end -= 1;
    }
    &line[..end]
}

/// Writes all of it, or returns how many bytes were.
fn write_all(output: &mut impl Write, bytes: &[u8]) -> Result<(), usize> {
    let mut count = 0;
    while count < bytes.len() {
        match output.write(&bytes[count..]) {
            Ok(0) => return Err(count),
            Ok(written) => count += written,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::park_timeout(Duration::from_millis(AGAIN_MS));
            }
            Err(_) => return Err(count),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Disk {
        room: Arc<Mutex<usize>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut room = self.room.lock().unwrap();
            let count = bytes.len().min(*room);
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            *room -= count;
            self.written.lock().unwrap().extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn what_a_full_disk_does_not_take_is_counted_and_the_next_line_is_whole() {
        let (log, disk) = (Log::new().unwrap(), Disk::default());
        let (queue, output) = (log.queue.clone(), disk.clone());
        std::thread::spawn(move || queue.write_on(output));
        let write = |room: usize, line: &[u8]| {
            *disk.room.lock().unwrap() = room;
            (&*log.queue).write_all(line).unwrap();
            log.queue.flush(SOON);
        };
        write(100, b"one\n");
        write(2, b"two\n");
        assert_eq!(log.queue.write_failed.get(), 1);
        write(0, b"three\n");
        write(1, b"four\n");
        assert_eq!(log.queue.write_failed.get(), 3);
        write(100, b"five\n");
        assert_eq!(log.queue.write_failed.get(), 3);
        assert_eq!(String::from_utf8(disk.written.lock().unwrap().clone()).unwrap(), "one\ntw\nfive\n");
    }

    #[test]
    fn a_queue_that_nobody_writes_is_bounded() {
        let log = Log::new().unwrap();
        let line = [vec![b'x'; LINE_BYTES_MAX - 1], b"\n".to_vec()].concat();
        for _ in 0..QUEUE_BYTES_MAX / LINE_BYTES_MAX {
            log.queue.push(&line);
        }
        assert!(log.queue.state().lines.len() < QUEUE_BYTES_MAX);
        assert_eq!(log.queue.queue_full.get(), 1);
        log.queue.push(b"a short one\n");
        assert_eq!(log.queue.queue_full.get(), 1, "there is room for a short one");
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let log = Log::new().unwrap();
        for letter in ["x", "é", "€", "𝄞"] {
            log.queue.push(format!("{}\n", letter.repeat(LINE_BYTES_MAX)).as_bytes());
        }
        let text = String::from_utf8(log.queue.state().lines.clone()).unwrap();
        let lengths: Vec<usize> = text.lines().map(str::len).collect();
        assert_eq!(lengths, [16_383, 16_382, 16_383, 16_380]);
    }

    #[test]
    fn a_panics_text_is_found() {
        assert_eq!(panic_text(&"a literal"), "a literal");
        assert_eq!(panic_text(&"a string".to_owned()), "a string");
        assert_eq!(panic_text(&7), "no text");
    }
}
