//! What a child process wrote: the newest lines, kept for assertions and for a failing test.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;

/// Older lines are thrown away.
const LINES_MAX: usize = 5_000;

/// One log line: JSON when it was JSON.
#[derive(Debug, Clone)]
pub struct Line {
    pub text: String,
    pub json: Value,
}

impl Line {
    /// A field at the top or, as tracing's JSON has it by default, inside `fields`.
    pub fn field(&self, name: &str) -> Option<&Value> {
        let nested = || self.json.get("fields").and_then(|fields| fields.get(name));
        self.json.get(name).or_else(nested)
    }

    pub fn str(&self, name: &str) -> Option<&str> {
        self.field(name).and_then(Value::as_str)
    }

    pub fn message(&self) -> &str {
        self.str("message").unwrap_or(&self.text)
    }
}

/// Shared with the threads that read the child's pipes.
#[derive(Clone, Default)]
pub struct Logs {
    lines: Arc<Mutex<VecDeque<Line>>>,
    readers: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Logs {
    /// Reads `pipe` until the child closes it.
    pub fn follow(&self, pipe: impl Read + Send + 'static) {
        let lines = Arc::clone(&self.lines);
        let reader = std::thread::spawn(move || {
            for text in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let text = String::from_utf8_lossy(&text).into_owned();
                let json = serde_json::from_str(&text).unwrap_or(Value::Null);
                let mut lines = lines.lock().unwrap();
                if lines.len() == LINES_MAX {
                    lines.pop_front();
                }
                lines.push_back(Line { text, json });
            }
        });
        self.readers.lock().unwrap().push(reader);
    }

    /// Waits for the last line of a child that has ended.
    pub fn finish(&self) {
        for reader in std::mem::take(&mut *self.readers.lock().unwrap()) {
            let _ = reader.join();
        }
    }

    /// Those kept so far, oldest first.
    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap().iter().cloned().collect()
    }

    /// The newest line for which `which` is true.
    pub fn last(&self, which: impl Fn(&Line) -> bool) -> Option<Line> {
        self.lines.lock().unwrap().iter().rev().find(|line| which(line)).cloned()
    }

    pub fn count(&self, which: impl Fn(&Line) -> bool) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| which(line)).count()
    }

    pub fn print(&self, whose: &str) {
        println!("--- {whose} said:");
        for line in self.lines() {
            println!("{}", line.text);
        }
    }
}
