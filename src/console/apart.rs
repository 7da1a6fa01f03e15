//! Runs a call beside the request, for futures that the compiler cannot prove to move between threads:
//! those of changes that are made by closures over a transaction.

use crate::error::{Error, Result};

/// Makes the future on a thread of its own, and waits for it.
///
/// # Errors
/// The future's; `Internal` when it panicked.
pub async fn apart<T, F>(make: impl FnOnce() -> F + Send + 'static) -> Result<T>
where
    F: Future<Output = Result<T>>,
    T: Send + 'static,
{
    let runtime = tokio::runtime::Handle::current();
    let ended = tokio::task::spawn_blocking(move || runtime.block_on(make())).await;
    ended.map_err(|cause| Error::caused("a call beside a request", cause))?
}
