//! Where pictures are: a bucket that speaks S3, or a folder. Every call has a limit in time, attempts and
//! bytes; who calls limits how many there are at once.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Attribute, Attributes, BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt};
use object_store::{PutOptions, RetryConfig};
use prometheus::{HistogramVec, IntCounterVec, Registry};
use tokio::time::timeout;

use crate::chassis::DETACHED_MS_MAX;
use crate::config::{Bucket, Pictures};
use crate::metrics;

use super::model::PICTURE_BYTES_MAX;

/// Longest wait for a connection to the bucket, name and TLS included.
const CONNECT_MS_MAX: u64 = 1_000;
/// Longest time for one attempt, from its first byte sent to its last byte read. A megabyte takes S3 a tenth
/// of it from within the region.
const ATTEMPT_MS_MAX: u64 = 1_200;
/// An attempt that failed is made once more: the second of two usually meets another server of S3's.
const RETRIES_MAX: usize = 1;
/// Shortest and longest pause before it. (The client draws between them and panics where they are the same.)
const RETRY_PAUSE_MS: (u64, u64) = (50, 100);
/// Longest time for a call, all attempts together. Storing waits for two short transactions besides.
const CALL_MS_MAX: u64 = 2_500;
/// Idle connections kept to the bucket: one for each upload that may be under way.
const IDLE_CONNECTIONS_MAX: usize = super::UPLOADS_AT_ONCE_MAX;
/// S3 closes idle connections after some 20 s; we do first.
const IDLE_MS_MAX: u64 = 15_000;

const _: () = assert!(CONNECT_MS_MAX < ATTEMPT_MS_MAX);
const _: () = assert!((RETRIES_MAX as u64 + 1) * ATTEMPT_MS_MAX + RETRY_PAUSE_MS.1 <= CALL_MS_MAX);
const _: () = assert!(RETRY_PAUSE_MS.0 < RETRY_PAUSE_MS.1);
const _: () = assert!(CALL_MS_MAX + 1_000 <= DETACHED_MS_MAX);

/// A name is never given to another picture, so whoever has it may keep it.
pub(super) const CACHE_CONTROL: &str = "public, max-age=31536000, immutable";

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// There is no such picture.
    #[error("no such picture")]
    Absent,
    /// The store is away, refuses us or did not answer in time. What it did is unknown.
    #[error("picture store: {0}")]
    Away(String),
}

/// The store of pictures.
pub(super) struct Storage {
    store: Arc<dyn ObjectStore>,
    /// The folder, where it is one.
    folder: Option<PathBuf>,
    seconds: HistogramVec,
    errors: IntCounterVec,
}

impl Storage {
    /// The store that is configured. Asks a bucket nothing yet; makes a folder that is not there.
    pub(super) fn new(pictures: &Pictures, registry: &Registry) -> Result<Self, String> {
        let (store, folder): (Arc<dyn ObjectStore>, _) = match &pictures.bucket {
            Some(bucket) => (Arc::new(s3(bucket).map_err(|error| format!("S3_BUCKET: {error}"))?), None),
            None => {
                let failed =
                    |error: &dyn std::fmt::Display| format!("UPLOAD_DIR cannot be made or used: {error}");
                std::fs::create_dir_all(&pictures.folder).map_err(|error| failed(&error))?;
                let folder =
                    LocalFileSystem::new_with_prefix(&pictures.folder).map_err(|error| failed(&error))?;
                // On the disk before the post says that it is there.
                (Arc::new(folder.with_fsync(true)), Some(pictures.folder.clone()))
            }
        };
        let (seconds, errors) = register(registry).map_err(|error| error.to_string())?;
        Ok(Self { store, folder, seconds, errors })
    }

    /// Stores a picture. An error leaves open whether it is there.
    pub(super) async fn put(
        &self,
        name: &str,
        media_type: &'static str,
        picture: Bytes,
    ) -> Result<(), Error> {
        let mut options = PutOptions::default();
        if self.folder.is_none() {
            // A CDN hands on what the bucket says of the picture. A folder keeps no such things.
            options.attributes = Attributes::from_iter([
                (Attribute::ContentType, media_type),
                (Attribute::CacheControl, CACHE_CONTROL),
            ]);
        }
        let path = Path::from(name);
        let put = self.store.put_opts(&path, picture.into(), options);
        match self.limited("put", put).await {
            // A bucket that is not there answers 404, too: that is no picture missing.
            Err(Error::Absent) => {
                self.errors.with_label_values(&["put"]).inc();
                Err(Error::Away("the bucket is not there".to_owned()))
            }
            outcome => outcome.map(drop),
        }
    }

    /// The whole picture.
    pub(super) async fn get(&self, name: &str) -> Result<Bytes, Error> {
        let path = Path::from(name);
        let get = async {
            let found = self.store.get(&path).await?;
            let size = found.meta.size;
            if size > PICTURE_BYTES_MAX as u64 {
                let source = format!("{size} bytes are more than any picture of ours").into();
                return Err(object_store::Error::Generic { store: "board", source });
            }
            found.bytes().await
        };
        self.limited("get", get).await
    }

    /// Deletes a picture; one that is not there is deleted already.
    pub(super) async fn delete(&self, name: &str) -> Result<(), Error> {
        let path = Path::from(name);
        if let Some(folder) = &self.folder {
            // What a process that was killed left of a file that it wrote: the library writes beside it first.
            let unfinished = folder.join(format!("{name}#1"));
            let _not_there = tokio::task::spawn_blocking(|| std::fs::remove_file(unfinished)).await;
        }
        match self.limited("delete", self.store.delete(&path)).await {
            Err(Error::Absent) => Ok(()),
            outcome => outcome,
        }
    }

    async fn limited<T>(
        &self,
        operation: &str,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Error> {
        let begun = Instant::now();
        let outcome = match timeout(Duration::from_millis(CALL_MS_MAX), call).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(object_store::Error::NotFound { .. })) => Err(Error::Absent),
            Ok(Err(error)) => Err(Error::Away(causes(&error))),
            Err(_) => Err(Error::Away("no answer in time".to_owned())),
        };
        self.seconds.with_label_values(&[operation]).observe(begun.elapsed().as_secs_f64());
        if matches!(outcome, Err(Error::Away(_))) {
            self.errors.with_label_values(&[operation]).inc();
        }
        outcome
    }
}

/// An error and what it came from: the client's own text only says that a request could not be sent.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

fn s3(bucket: &Bucket) -> Result<AmazonS3, object_store::Error> {
    // The HTTP client asks for the process's TLS provider: ring, as everywhere here. Set already is as good.
    let _set_already = rustls::crypto::ring::default_provider().install_default();
    let is_plain = bucket.endpoint.as_ref().is_some_and(|endpoint| endpoint.scheme() == "http");
    let client = ClientOptions::new()
        .with_allow_http(is_plain)
        .with_http1_only()
        .with_connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
        .with_timeout(Duration::from_millis(ATTEMPT_MS_MAX))
        .with_pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .with_pool_idle_timeout(Duration::from_millis(IDLE_MS_MAX));
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(RETRY_PAUSE_MS.0),
            max_backoff: Duration::from_millis(RETRY_PAUSE_MS.1),
            base: 2.0,
        },
        max_retries: RETRIES_MAX,
        retry_timeout: Duration::from_millis(CALL_MS_MAX),
    };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&bucket.name)
        .with_region(&bucket.region)
        // AWS wants the bucket in the host's name; a dot in it does not fit the certificate, and other
        // services know it in the path only.
        .with_virtual_hosted_style_request(bucket.endpoint.is_none() && !bucket.name.contains('.'))
        .with_client_options(client)
        .with_retry(retry);
    if let Some(endpoint) = &bucket.endpoint {
        builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
    }
    if let Some((id, secret)) = &bucket.key {
        builder = builder.with_access_key_id(id).with_secret_access_key(secret.reveal());
    }
    builder.build()
}

fn register(registry: &Registry) -> Result<(HistogramVec, IntCounterVec), prometheus::Error> {
    let (label, buckets) = ("operation", [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5]);
    let about = "Time of calls to the picture store.";
    let seconds = metrics::histograms(registry, "board_storage_seconds", about, &buckets, label)?;
    let about = "Calls to the picture store that failed.";
    let errors = metrics::counters(registry, "board_storage_errors_total", about, &[label])?;
    for operation in ["put", "get", "delete"] {
        seconds.with_label_values(&[operation]);
        errors.with_label_values(&[operation]);
    }
    Ok((seconds, errors))
}
