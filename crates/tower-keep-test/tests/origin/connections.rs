//! Faults of connections, before any request.

use std::io::ErrorKind;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tower_keep_test::{
    http::{Origin, Reply},
    secs,
};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn refuse_and_accept_on_a_socket() {
    let origin = Origin::start().await.unwrap();
    let address = origin.address();
    let mut early = TcpStream::connect(address).await.unwrap();
    for _ in 0..3 {
        origin.refuse().unwrap();
        origin.refuse().unwrap();
        let error = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        origin.accept().unwrap();
        origin.accept().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(GET).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // A connection from before goes on.
    early.write_all(GET).await.unwrap();
    assert!(early.read_to_end(&mut Vec::new()).await.unwrap() > 0);
    assert_eq!(origin.connections(), 4);
    assert_eq!((origin.received().len(), origin.count()), (4, 4));
    assert_eq!(origin.url("/a?b"), format!("http://{address}/a?b"));
}

#[tokio::test(start_paused = true)]
async fn refuse_and_accept_in_memory() {
    let origin = Origin::in_memory();
    origin.refuse().unwrap();
    let error = origin.connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(origin.connections(), 0);
    origin.accept().unwrap();
    origin.connect().unwrap();
    assert_eq!(origin.connections(), 1);
    assert_eq!(origin.url("/"), "http://origin.test/");
}

#[tokio::test]
async fn connections_that_end_at_once() {
    let origin = Origin::start().await.unwrap();
    origin.close_on_connect();
    let mut client = TcpStream::connect(origin.address()).await.unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);

    origin.reset_on_connect();
    let ended = match TcpStream::connect(origin.address()).await {
        Ok(mut client) => client.read(&mut [0]).await.map(drop),
        Err(error) => Err(error),
    };
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(origin.connections(), 2);
    assert!(origin.received().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_reads() {
    let origin = Origin::in_memory();
    origin.hang_on_connect();
    let mut client = origin.connect().unwrap();
    client.write_all(GET).await.unwrap();
    assert!(timeout(secs(3600), client.read(&mut [0])).await.is_err());
    assert!(origin.received().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_origin_ends_its_connections() {
    let origin = Origin::in_memory().then(Reply::hang());
    let connector = origin.connector();
    let mut client = connector.connect().unwrap();
    client.write_all(GET).await.unwrap();
    origin.until(|received| received.len() == 1).await;
    drop(origin);
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    let error = connector.connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_dropped_origin_frees_its_port_at_once() {
    let origin = Origin::start().await.unwrap();
    let address = origin.address();
    drop(origin);
    let error = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn the_test_ends_all_connections_at_once() {
    let origin = Origin::start().await.unwrap().times(2, &Reply::hang());
    for reset in [false, true] {
        let mut client = TcpStream::connect(origin.address()).await.unwrap();
        client.write_all(GET).await.unwrap();
        let requests = if reset { 2 } else { 1 };
        origin.until(|received| received.len() == requests).await;
        if reset {
            origin.reset_connections();
        } else {
            origin.close_connections();
        }
        let read = client.read(&mut [0]).await;
        if reset {
            assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
        } else {
            assert_eq!(read.unwrap(), 0);
        }
    }
    // The next connection is served.
    origin.push(Reply::status(204));
    let mut client = TcpStream::connect(origin.address()).await.unwrap();
    client.write_all(GET).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
}
