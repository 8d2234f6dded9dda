//! The server alone, tower-http's layers, and reqwest-middleware with reqwest-retry.

#[allow(clippy::disallowed_types, reason = "reqwest-retry's trait takes it")]
use std::time::SystemTime;
use std::{sync::Arc, time::Duration};

use http::StatusCode;
use reqwest::{Client, RequestBuilder};
use reqwest_middleware::{ClientWithMiddleware, Middleware};
use reqwest_retry::{
    RetryDecision, RetryPolicy, RetryTransientMiddleware, policies::ExponentialBackoff,
};
use tower::ServiceBuilder;
use tower_http::{timeout::TimeoutLayer, trace::TraceLayer};

use super::{Payload, Server, call, http_requests, reqwest_requests, service_calls};
use crate::cases::Cases;

const MINUTE: Duration = Duration::from_secs(60);

/// One retry, at once.
struct Once;

#[allow(clippy::disallowed_types, reason = "reqwest-retry's trait takes it")]
impl RetryPolicy for Once {
    fn should_retry(&self, _: SystemTime, past: u32) -> RetryDecision {
        match past {
            0 => RetryDecision::Retry {
                execute_after: SystemTime::UNIX_EPOCH,
            },
            _ => RetryDecision::DoNotRetry,
        }
    }
}

/// With the server in place of the client's own connection.
fn client_with(retry: impl Middleware, server: Server) -> ClientWithMiddleware {
    let stack: [Arc<dyn Middleware>; 2] = [Arc::new(retry), Arc::new(server)];
    ClientWithMiddleware::new(Client::new(), stack)
}

fn retrying(server: Server) -> ClientWithMiddleware {
    let policy = ExponentialBackoff::builder().build_with_max_retries(3);
    client_with(RetryTransientMiddleware::new_with_policy(policy), server)
}

pub(super) fn add(cases: &mut Cases) {
    http(cases);
    for payload in Payload::BOTH {
        reqwest(cases, payload);
    }
}

fn http(cases: &mut Cases) {
    cases.add_calls("bare http", |server| service_calls(server, http_requests()));
    cases.add_calls("tower-http timeout + trace", |server| {
        let stack = ServiceBuilder::new()
            .layer(TraceLayer::new_for_http())
            .layer(TimeoutLayer::with_status_code(
                StatusCode::GATEWAY_TIMEOUT,
                MINUTE,
            ))
            .service(server);
        service_calls(stack, http_requests())
    });
}

fn reqwest(cases: &mut Cases, payload: Payload) {
    let client = Client::new();
    cases.add_calls(
        payload.pick(["bare reqwest", "bare reqwest, JSON"]),
        |server| service_calls(server, reqwest_requests(payload)),
    );
    cases.add_calls(
        payload.pick(["bare reqwest, send", "bare reqwest, send JSON"]),
        |mut server| {
            let (client, mut make) = (client.clone(), reqwest_requests(payload));
            move || {
                let request = RequestBuilder::from_parts(client.clone(), make()).build();
                call(&mut server, request.expect("a valid request"))
            }
        },
    );
    cases.add_calls(
        payload.pick(["reqwest-retry", "reqwest-retry, JSON"]),
        |server| {
            let (client, mut make) = (leaked(retrying(server)), reqwest_requests(payload));
            move || client.execute(make())
        },
    );
    cases.add_calls(
        payload.pick(["reqwest-retry, send", "reqwest-retry, send JSON"]),
        |server| {
            let (client, mut make) = (retrying(server), reqwest_requests(payload));
            move || reqwest_middleware::RequestBuilder::from_parts(client.clone(), make()).send()
        },
    );
    cases.add_retried(
        payload.pick(["reqwest-retry, one retry", "reqwest-retry, one retry, JSON"]),
        |server| {
            let client = client_with(RetryTransientMiddleware::new_with_policy(Once), server);
            let (client, mut make) = (leaked(client), reqwest_requests(payload));
            move || client.execute(make())
        },
    );
}

/// A call borrows its client.
fn leaked(client: ClientWithMiddleware) -> &'static ClientWithMiddleware {
    Box::leak(Box::new(client))
}
