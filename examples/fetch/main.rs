//! A downloader: several URLs at once, through `Pipeline::http_client` around reqwest.
//!
//! ```text
//! cargo run --example fetch                          # a demonstration that needs no network
//! cargo run --example fetch -- URL... --out folder   # fetches these
//! cargo run --example fetch --features tls -- https://...
//! ```
//!
//! - `stack.rs`: the layers and their settings.
//! - `download.rs`, `part.rs`: one URL, and the file that it becomes.
//! - `session.rs`: all downloads, Ctrl-C and the closing table.
//! - `screen.rs`: what the layers report, as lines and bars.
//! - `demo.rs`: the servers of the demonstration.
//!
//! The exit code is 0 if all was fetched, 1 if not, 2 for wrong options, 130 after Ctrl-C.

mod demo;
mod download;
mod part;
mod screen;
mod session;
mod stack;

use std::{fs, path::PathBuf, process::ExitCode};

use clap::{CommandFactory, Parser, error::ErrorKind, value_parser};
use reqwest::{Client, Url};
use tower_keep::{BoxError, describe_error};

use self::{demo::Demo, download::Download, screen::Screen, stack::Stack};

/// Fetches URLs into a folder. Without a URL, it fetches from servers of its own, which misbehave.
#[derive(Debug, Parser)]
#[command(name = "fetch")]
struct Args {
    /// What to fetch
    #[arg(value_name = "URL", value_parser = parse_url)]
    urls: Vec<Url>,

    /// The folder for the files
    #[arg(long, short, value_name = "FOLDER", default_value = "downloads")]
    out: PathBuf,

    /// How many downloads run at once
    #[arg(long, short, value_name = "N", default_value_t = 4, requires = "urls", value_parser = value_parser!(u16).range(1..))]
    jobs: u16,

    #[command(flatten)]
    settings: stack::Settings,
}

fn parse_url(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|error| error.to_string())?;
    // It is never sent, so it makes no other URL.
    url.set_fragment(None);
    match url.scheme() {
        "http" => Ok(url),
        "https" if cfg!(feature = "tls") => Ok(url),
        "https" => Err("https needs `cargo run --example fetch --features tls`".to_owned()),
        _ => Err("only http and https are fetched".to_owned()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    run(Args::parse()).await.unwrap_or_else(|error| {
        eprintln!("fetch: {}", describe_error(&*error));
        ExitCode::FAILURE
    })
}

async fn run(mut args: Args) -> Result<ExitCode, BoxError> {
    let (out, mut settings) = (args.out, args.settings);
    fs::create_dir_all(&out).map_err(|error| format!("cannot write to {out:?}: {error}"))?;
    let mut client = Client::builder()
        .user_agent(concat!("tower-keep-fetch/", env!("CARGO_PKG_VERSION")))
        // The stack retries, so reqwest itself must not.
        .retry(reqwest::retry::never());
    let mut demo = None;
    if args.urls.is_empty() {
        let servers = demo.insert(Demo::start(&out).await?);
        args.urls = servers.urls()?;
        client = client.no_proxy();
        // The servers are near.
        (settings.base_delay, settings.attempt_timeout) = (200, 1);
    }

    let downloads = Download::all(args.urls, &out);
    let screen = Screen::default();
    let stack = Stack::new(client.build()?, &settings, &screen);
    let stack = stack.unwrap_or_else(|conflict| {
        let mut command = Args::command();
        command.error(ErrorKind::ValueValidation, conflict).exit()
    });
    let ended = session::run(&downloads, args.jobs, &stack, &screen).await;
    println!("{}", session::table(&ended));
    if stack.cancel.is_shut_down() {
        // As a shell reports a process that SIGINT ended.
        return Ok(ExitCode::from(130));
    }
    let is_good = match demo {
        Some(_) => demo::check(&ended, &out),
        None => ended.iter().all(|ended| ended.length.is_some()),
    };
    Ok(ExitCode::from(u8::from(!is_good)))
}
