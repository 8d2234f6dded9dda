//! A connection to a server that is cut after a number of bytes.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, split},
    net::TcpListener,
    task::JoinHandle,
};
use tower_keep_test::http::{Connector, Origin};

/// Passes the bytes of one connection on, and cuts it after a number of bytes of the server.
pub(super) struct Relay {
    url: String,
    passed: Arc<AtomicUsize>,
    task: JoinHandle<io::Result<()>>,
}

impl Relay {
    /// Passes this many bytes of the server on, then closes the connection.
    pub(super) async fn cut_after(origin: &Origin, bytes: usize) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let passed = Arc::new(AtomicUsize::new(0));
        let passing = pass(listener, origin.connector(), bytes, Arc::clone(&passed));
        Ok(Self {
            url,
            passed,
            task: tokio::spawn(passing),
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The bytes of the server that were passed on.
    pub(super) fn passed(&self) -> usize {
        self.passed.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    listener: TcpListener,
    origin: Connector,
    bytes: usize,
    passed: Arc<AtomicUsize>,
) -> io::Result<()> {
    let (client, _) = listener.accept().await?;
    client.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_origin, mut to_origin) = split(origin.connect()?);
    let answers = async {
        let mut buffer = [0; 1024];
        let mut left = bytes;
        while left > 0 {
            let most = left.min(buffer.len());
            let length = from_origin.read(&mut buffer[..most]).await?;
            if length == 0 {
                break;
            }
            to_client.write_all(&buffer[..length]).await?;
            passed.fetch_add(length, Ordering::SeqCst);
            left -= length;
        }
        to_client.shutdown().await
    };
    // It reads on after the cut: bytes of the client that nobody reads would make it a reset.
    let requests = copy(&mut from_client, &mut to_origin);
    let (answered, _) = tokio::join!(answers, requests);
    answered
}
