//! What the layers leave of the throughput of an axum server that says hello.
//!
//! `cargo bench -p tower-keep-benches --bench server`; `-- --quick` and `-- --test` measure little.
//!
//! All servers share a thread, and a block keeps one of them busy. Another thread asks, over a few
//! connections on the loopback device that are kept open. It writes the bytes of one request again
//! and again and looks for the end of the answer, so that the server stays the slower of the two.
//! Blocks of requests to each server take turns; rates are medians. How long the server kept its
//! core busy, where the system tells, hardly depends on what else the machine does.

use std::{fs, io, net::Ipv4Addr, thread, time::Duration};

use axum::{Router, http::StatusCode, response::IntoResponse, routing::get};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Handle, Runtime},
    task::JoinSet,
    time::Instant,
};
use tower::ServiceBuilder;
use tower_http::{timeout, trace::TraceLayer};
use tower_keep::{CancelLayer, CircuitBreakerLayer, LogLayer, ProgressLayer, TimeoutLayer};
use tower_keep_benches::{median, quick};

const CONNECTIONS: usize = 8;
const LIMIT: Duration = Duration::from_secs(30);

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

/// With handles taken. Nobody listens.
fn behind_layers() -> Router {
    let unavailable = |why: String| (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    let progress = ProgressLayer::new();
    let cancel = CancelLayer::new().respond_with(move |why| unavailable(why.to_string()));
    std::mem::forget((progress.handle(), cancel.handle()));
    hello().layer(
        ServiceBuilder::new()
            .layer(LogLayer::new())
            .layer(progress)
            .layer(cancel)
            .layer(CircuitBreakerLayer::new().respond_with(move |why| unavailable(why.to_string())))
            .layer(TimeoutLayer::new(LIMIT).respond_with(move |why| unavailable(why.to_string()))),
    )
}

fn behind_tower_http() -> Router {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    hello().layer(
        ServiceBuilder::new()
            .layer(TraceLayer::new_for_http())
            .layer(timeout::TimeoutLayer::with_status_code(status, LIMIT)),
    )
}

/// Its name, the goal for its throughput as a multiple of the first one's, and the server.
fn servers() -> [(&'static str, Option<f64>, Router); 3] {
    [
        ("bare axum", None, hello()),
        (
            "log + progress + cancel + breaker + timeout",
            Some(0.95),
            behind_layers(),
        ),
        ("tower-http trace + timeout", None, behind_tower_http()),
    ]
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Serves in another thread, and connects.
fn start(client: &Runtime, servers: &Runtime, app: Router) -> io::Result<Vec<TcpStream>> {
    let listener = servers.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    servers.spawn(async { axum::serve(listener, app).await });
    client.block_on(async {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let connection = TcpStream::connect(address).await?;
            connection.set_nodelay(true)?;
            connections.push(connection);
        }
        Ok(connections)
    })
}

/// Asks so often, one request after the other.
async fn ask(mut connection: TcpStream, requests: u32) -> io::Result<TcpStream> {
    let mut answer = [0; 1024];
    for _ in 0..requests {
        connection
            .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await?;
        let mut read = 0;
        while !answer[..read].ends_with(b"\r\n\r\nhello") {
            match connection.read(&mut answer[read..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => read += more,
            }
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
    Ok(connection)
}

/// Asks over all connections at the same time.
async fn block(connections: &mut Vec<TcpStream>, requests: u32) -> io::Result<Duration> {
    let start = Instant::now();
    let mut asking = JoinSet::new();
    for connection in connections.drain(..) {
        asking.spawn(ask(connection, requests));
    }
    while let Some(asked) = asking.join_next().await {
        connections.push(asked.map_err(io::Error::other)??);
    }
    Ok(start.elapsed())
}

/// By round the seconds of a block, and the time that the server was on its core in all of them.
#[derive(Default)]
struct Figures {
    times: Vec<f64>,
    on_core: f64,
}

/// The time that the server's thread has been on its core, or NaN.
async fn on_core(server: &Handle) -> f64 {
    let time = server.spawn(async {
        let all = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        all.split(' ').next()?.parse().ok()
    });
    time.await.ok().flatten().unwrap_or(f64::NAN)
}

/// The thread to a core of its own, if there is another.
fn bind(core: usize) {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if cores.len() > 1 {
        core_affinity::set_for_current(cores[core]);
    }
}

fn main() -> io::Result<()> {
    let (rounds, requests) = if quick() { (3, 20) } else { (121, 160) };
    let (client, serving) = (runtime()?, runtime()?);
    let server = serving.handle().clone();
    let servers = servers();
    let mut connections = Vec::new();
    for (_, _, app) in &servers {
        connections.push(start(&client, &serving, app.clone())?);
    }
    bind(0);
    thread::spawn(move || {
        bind(1);
        serving.block_on(std::future::pending::<()>());
    });

    let mut all: Vec<_> = servers.iter().map(|_| Figures::default()).collect();
    // The first round makes everything warm.
    for round in 0..=rounds {
        for index in 0..servers.len() {
            let index = (index + round) % servers.len();
            let before = client.block_on(on_core(&server));
            let elapsed = client.block_on(block(&mut connections[index], requests))?;
            let after = client.block_on(on_core(&server));
            if round > 0 {
                all[index].times.push(elapsed.as_secs_f64());
                all[index].on_core += after - before;
            }
        }
    }

    println!(
        "\nRequests a second, and as a multiple of those of bare axum: counted, and if the server's core were all.\n"
    );
    println!(
        "| {:44} |  per s | / bare |    goal |        | by core |",
        ""
    );
    println!("|---|--:|--:|--:|---|--:|");
    let total = f64::from(requests) * CONNECTIONS as f64;
    for ((name, goal, _), own) in servers.iter().zip(&all) {
        let bare = &all[0];
        let ratios = bare.times.iter().zip(&own.times);
        let ratio = median(ratios.map(|(bare, own)| bare / own).collect());
        let rate = total / median(own.times.clone());
        let by_core = bare.on_core / own.on_core;
        let goal_shown = goal.map_or_else(String::new, |goal| format!(">= {goal:.2}"));
        let verdict = match goal {
            Some(goal) if ratio < *goal => "missed",
            Some(_) => "met",
            None => "",
        };
        println!(
            "| {name:44} | {rate:6.0} | {ratio:6.3} | {goal_shown:>7} | {verdict:6} | {by_core:7.3} |"
        );
    }
    println!();
    Ok(())
}
