//! The demonstration: the ways in which downloads fail, with servers of its own.

use std::{collections::HashSet, fs, path::Path, sync::Mutex, time::Duration};

use reqwest::Url;
use tokio::io::AsyncWriteExt;
use tower_keep::BoxError;
use tower_keep_test::http::{Origin, Received, Reply};

use crate::{part::PartFile, session::Ended};

/// Each file, the outcome of its download, and after how many attempts at least. In the order of
/// their start.
const FILES: [(&str, &str, u32); 12] = [
    ("large.bin", "fetched", 1),
    // The server refuses connections. After two failures it is left alone.
    ("down-1.txt", "failed", 4),
    ("down-2.txt", "failed", 4),
    ("busy.txt", "fetched", 2),
    ("busy-for-a-second.txt", "fetched", 2),
    ("resets.txt", "fetched", 2),
    ("hangs.txt", "fetched", 2),
    // Bodies that break off. The next attempt gets the rest.
    ("cut.bin", "fetched", 2),
    ("stalls.bin", "fetched", 2),
    ("missing.txt", "failed", 1),
    (LEFT, "fetched", 1),
    ("down-3.txt", "circuit open", 0),
];

/// An earlier run has left a part of it.
const LEFT: &str = "left.bin";

/// The entity tag of each file.
const TAG: &str = "\"first\"";

/// The servers. They stop when it is dropped.
pub(crate) struct Demo {
    up: Origin,
    down: Origin,
}

impl Demo {
    /// Starts the servers, and leaves a part in the folder.
    pub(crate) async fn start(folder: &Path) -> Result<Self, BoxError> {
        let visited = Mutex::new(HashSet::new());
        let up = Origin::start().await?.answer_with(move |request| {
            let is_first = visited.lock().unwrap().insert(request.path().to_owned());
            reply(request, is_first)
        });
        let down = Origin::start().await?;
        down.refuse()?;
        let demo = Self { up, down };
        let mut part = PartFile::new(folder, LEFT, &demo.url(LEFT)?).begin(Some(TAG))?;
        part.write_all(&content(LEFT)[..300_000]).await?;
        part.flush().await?;
        println!("Fetches from two servers: one misbehaves, one is down.");
        Ok(demo)
    }

    pub(crate) fn urls(&self) -> Result<Vec<Url>, BoxError> {
        FILES.iter().map(|(name, ..)| self.url(name)).collect()
    }

    fn url(&self, name: &str) -> Result<Url, BoxError> {
        let server = match name.starts_with("down") {
            true => &self.down,
            false => &self.up,
        };
        Ok(server.url(&format!("/{name}")).parse()?)
    }
}

/// Whether each download ended as it has to, with the right content.
pub(crate) fn check(ended: &[Ended], folder: &Path) -> bool {
    let mut good = 0;
    for (ended, (name, outcome, attempts)) in ended.iter().zip(FILES) {
        let is_as_said = ended.outcome == outcome && ended.attempts >= attempts;
        let file = || fs::read(folder.join(name)).ok();
        if is_as_said && (ended.length.is_none() || file() == Some(content(name))) {
            good += 1;
        } else {
            println!("{name} had to be: {outcome}, after {attempts} attempts or more");
        }
    }
    let all = FILES.len();
    println!("{good} of {all} downloads ended as they have to. Some have to fail.");
    good == all
}

fn content(name: &str) -> Vec<u8> {
    let length = match name {
        "large.bin" => 8_000_000,
        _ if name.ends_with(".bin") => 1_000_000,
        _ => 100,
    };
    (0..length).map(|at: u32| (at % 251) as u8).collect()
}

fn reply(request: &Received, is_first: bool) -> Reply {
    match request.path() {
        "/missing.txt" => Reply::status(404),
        "/busy.txt" if is_first => Reply::status(503),
        "/busy-for-a-second.txt" if is_first => Reply::status(503).header("retry-after", "1"),
        "/resets.txt" if is_first => Reply::reset(),
        "/hangs.txt" if is_first => Reply::hang(),
        "/cut.bin" if is_first => file(request).truncate_after(600_000),
        "/stalls.bin" if is_first => file(request).stall_after(600_000),
        _ => file(request),
    }
}

/// The file, or the rest of it that the request asks for. About 4 MB a second.
fn file(request: &Received) -> Reply {
    let content = content(&request.path()[1..]);
    let length = content.len();
    let range = request.header("range").unwrap_or_default();
    let begin = range.trim_matches(|c: char| !c.is_ascii_digit()).parse();
    let reply = match (begin, request.header("if-range")) {
        (Ok(begin), Some(TAG)) if begin < length => {
            let range = format!("bytes {begin}-{}/{length}", length - 1);
            let rest = content[begin..].to_vec();
            Reply::status(206)
                .header("content-range", &range)
                .body(rest)
        }
        _ => Reply::status(200).body(content),
    };
    let every = Duration::from_millis(10);
    reply.header("etag", TAG).trickle(40_000, every)
}
