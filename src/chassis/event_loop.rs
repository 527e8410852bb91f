//! One event loop's own things: what its requests use and its connections are.

use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slab::Slab;
use tokio::task::AbortHandle;

use crate::auth::token::cache::Cache;
use crate::metrics::LoopMetrics;

use super::connection::Activity;
use super::lag::Lag;
use super::scratch::Scratch;
use super::{Application, Chassis};

/// The longest head of a request; beyond it 431 (or 414 for the URL). hyper takes no more than 100 header fields either;
/// that is 431, too.
pub(super) const HEAD_BYTES_MAX: usize = 32 * 1024;

/// A loop's open connections: what each is at, and what ends it.
pub(super) type Connections = Slab<(Arc<Activity>, Option<AbortHandle>)>;

/// One event loop's own things. All of it is used on that loop's thread only, so no lock is ever waited for.
pub(super) struct EventLoop<A: Application> {
    pub(super) index: usize,
    pub(super) chassis: Arc<Chassis<A>>,
    scratch: Mutex<Scratch>,
    tokens: Mutex<Cache>,
    connections: Mutex<Connections>,
    pub(super) tick: Arc<AtomicU32>,
    pub(super) lag: Arc<Lag>,
    /// Connections accepted for this loop since the last sweep.
    pub(super) taken: AtomicUsize,
}

impl<A: Application> EventLoop<A> {
    pub(super) fn new(index: usize, chassis: Arc<Chassis<A>>) -> Self {
        let seed = crate::clock::Timestamp::now().micros().unsigned_abs();
        let seed = (seed ^ u64::from(std::process::id()) << 40).wrapping_add(index as u64) << 8;
        Self {
            index,
            chassis,
            scratch: Mutex::new(Scratch::new(seed)),
            tokens: Mutex::default(),
            connections: Mutex::new(Slab::new()),
            tick: Arc::new(AtomicU32::new(1)),
            lag: Arc::default(),
            taken: AtomicUsize::new(0),
        }
    }

    pub(super) fn metrics(&self) -> &LoopMetrics {
        self.chassis.http.event_loop(self.index)
    }

    pub(super) fn scratch(&self) -> MutexGuard<'_, Scratch> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tokens(&self) -> MutexGuard<'_, Cache> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
