//! What users of HTTP clients ask for in the trackers of libraries, by the number of the ask. Each
//! test runs over HTTP/1.1 and over HTTP/2.
//!
//! | asks | about | module |
//! |---|---|---|
//! | 1 to 3 | which requests are repeated, and who decides | `methods` |
//! | 4 | a fresh token after a 401 | `token` |
//! | 5 to 7, 19 | when the next attempt begins | `waits` |
//! | 8, 17 | request bodies | `bodies` |
//! | 9, 10, 13, 14, 20 | budgets, and what they count | `budgets` |
//! | 11, 12, 21, 25, 26 | time limits | `limits` |
//! | 15, 16 | nested retries, and what the error says | `nested` |
//! | 27, 28 | deadlines on the wire, and the status of an expired limit | `deadlines` |
//! | 29 | a circuit for each host | `circuits` |
//!
//! The asks 18 and 22 to 24, and the part of 21 about bodies, follow the response body to its end
//! (R84 to R86). They are not tested here.

mod bodies;
mod budgets;
mod circuits;
mod connect;
mod deadlines;
mod limits;
mod methods;
mod nested;
mod token;
mod waits;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Version};
use http_body_util::Full;
use tower_keep_test::http::Origin;

use self::connect::{Client, in_memory, reqwest_client};

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// A request to the origin, with this path and a short body.
fn request(method: Method, origin: &Origin, path: &str) -> Request<Full<Bytes>> {
    let body = match method {
        Method::POST | Method::PUT | Method::PATCH => "order",
        _ => "",
    };
    Request::builder()
        .method(method)
        .uri(origin.url(path))
        .body(Full::from(body))
        .unwrap()
}

fn get(origin: &Origin) -> Request<Full<Bytes>> {
    request(Method::GET, origin, "/page?token=hunter2")
}

fn post(origin: &Origin) -> Request<Full<Bytes>> {
    request(Method::POST, origin, "/orders?token=hunter2")
}

/// When the requests arrived, from the first one on. All of them came in this version.
#[track_caller]
fn arrivals(origin: &Origin, version: Version) -> Vec<Duration> {
    let received = origin.received();
    for request in &received {
        assert_eq!(request.version, version);
    }
    let first = received.first().map(|request| request.at);
    received
        .iter()
        .filter_map(|request| Some(request.at - first?))
        .collect()
}
