//! A stream that counts the bytes that pass it: what a client wrote to and read from its own socket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use billing_export::Volume;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Counts of one stream; readable after the stream is gone.
#[derive(Debug, Default)]
pub(in crate::app) struct Counts {
    /// Bytes written.
    up: AtomicU64,
    /// Bytes read.
    down: AtomicU64,
}

impl Counts {
    /// What was counted so far.
    pub(in crate::app) fn volume(&self) -> Volume {
        Volume { up: self.up.load(Ordering::Relaxed), down: self.down.load(Ordering::Relaxed) }
    }

    /// Adds bytes written.
    pub(in crate::app) fn add_up(&self, bytes: u64) {
        self.up.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Adds bytes read.
    pub(in crate::app) fn add_down(&self, bytes: u64) {
        self.down.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Passes everything on and counts it.
#[derive(Debug)]
pub(in crate::app) struct Counting<S> {
    /// The stream below.
    inner: S,
    /// Where it is counted.
    counts: Arc<Counts>,
}

impl<S> Counting<S> {
    /// Counts what passes from here on.
    pub(in crate::app) fn new(inner: S, counts: Arc<Counts>) -> Self {
        Self { inner, counts }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counting<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let read = buffer.filled().len().saturating_sub(before);
        self.counts.add_down(read as u64);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counting<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        self.counts.add_up(written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_passes_is_counted_and_nothing_else() {
        let (near, mut far) = tokio::io::duplex(4);
        let counts = Arc::new(Counts::default());
        let mut near = Counting::new(near, Arc::clone(&counts));
        let far = tokio::spawn(async move {
            let mut read = [0; 7];
            far.read_exact(&mut read).await.unwrap();
            far.write_all(b"12345").await.unwrap();
            read
        });
        near.write_all(b"1234567").await.unwrap();
        let mut read = Vec::new();
        near.read_to_end(&mut read).await.unwrap();
        assert_eq!((&far.await.unwrap(), read.as_slice()), (b"1234567", b"12345".as_slice()));
        assert_eq!(counts.volume(), Volume { up: 7, down: 5 });
    }
}
