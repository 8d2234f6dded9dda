//! From arguments to jobs.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::Arc,
};

use reqwest::Url;

use crate::file_name::Names;

/// The request that goes through the stack: one URL to fetch.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    /// The name of its job: a number, as the same URL may be given twice, and the file's name.
    pub(crate) job: Arc<str>,
    pub(crate) url: Url,
    /// Which of [`Plan::hosts`] it goes to.
    pub(crate) host: usize,
    /// The name of the file it becomes.
    pub(crate) file: String,
}

/// A host has a circuit of its own.
#[derive(Debug)]
pub(crate) struct Host {
    /// Host and port.
    pub(crate) name: String,
    /// Whether it is this very machine.
    pub(crate) is_loopback: bool,
}

/// All that is to be done.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) fetches: Vec<Fetch>,
    pub(crate) hosts: Vec<Host>,
    /// What is wrong with the rest, a line for each.
    pub(crate) refused: Vec<String>,
}

impl Plan {
    /// A bad URL never keeps the good ones from being fetched.
    pub(crate) fn new(urls: &[String]) -> Self {
        let mut plan = Self::default();
        let mut hosts = HashMap::new();
        let mut files: HashMap<Url, String> = HashMap::new();
        let mut names = Names::default();
        for text in urls {
            let url = match check(text) {
                Ok(url) => url,
                Err(line) => {
                    plan.refused.push(line);
                    continue;
                }
            };
            let host = *hosts.entry(origin(&url)).or_insert_with(|| {
                plan.hosts.push(Host {
                    name: origin(&url),
                    is_loopback: is_loopback(&url),
                });
                plan.hosts.len() - 1
            });
            // Two URLs never share a file, one URL given twice always does.
            let file = match files.entry(url.clone()) {
                Entry::Occupied(entry) => entry.get().clone(),
                Entry::Vacant(entry) => entry.insert(names.claim(url.path())).clone(),
            };
            plan.fetches.push(Fetch {
                job: format!("#{} {file}", plan.fetches.len() + 1).into(),
                url,
                host,
                file,
            });
        }
        plan
    }
}

fn check(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|error| format!("{text:?} is no URL: {error}"))?;
    // The part after `#` is never sent, so that it makes no other URL.
    url.set_fragment(None);
    match refusal(&url) {
        None => Ok(url),
        Some(reason) => Err(format!("{text:?} {reason}")),
    }
}

/// Why a URL of this scheme cannot be fetched. Asked of redirects too.
pub(crate) fn refusal(url: &Url) -> Option<String> {
    match url.scheme() {
        "http" => None,
        "https" if cfg!(feature = "tls") => None,
        "https" => Some(
            "needs TLS: run with `--features tls`, as in `cargo run --example fetch --features tls -- URL`"
                .to_owned(),
        ),
        scheme => Some(format!(
            "has the scheme {scheme:?}, and only http and https are fetched"
        )),
    }
}

fn origin(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}
