//! tower-keep's layers for HTTP clients, alone and together. Nobody listens to the log.

use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use tower::{Layer, ServiceBuilder};
use tower_keep::{
    CircuitBreakerLayer, LogLayer, Pipeline, Ratio, RetryLayer, SendThrough, TimeoutLayer,
    retry::RetryBudget,
};

use super::{Payload, Server, http_requests, reqwest_requests, service_calls};
use crate::cases::Cases;

const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn add(cases: &mut Cases) {
    http(cases);
    for payload in Payload::BOTH {
        reqwest(cases, payload);
    }
}

fn http(cases: &mut Cases) {
    cases.add_calls("http log", |server| {
        service_calls(LogLayer::http().layer(server), http_requests())
    });
    cases.add_calls("http breaker", |server| {
        service_calls(CircuitBreakerLayer::http().layer(server), http_requests())
    });
    cases.add_calls("http retry", |server| {
        service_calls(RetryLayer::http().layer(server), http_requests())
    });
    cases.add_calls("http log + timeout", |server| {
        let stack = ServiceBuilder::new()
            .layer(LogLayer::http())
            .layer(TimeoutLayer::new(MINUTE))
            .service(server);
        service_calls(stack, http_requests())
    });
    cases.add_calls("http client", |server| {
        service_calls(client(server), http_requests())
    });
}

fn client(server: Server) -> tower_keep::http::HttpClient<Server> {
    let pipeline = Pipeline::http_client().build();
    pipeline.expect("the layers fit together").layer(server)
}

/// One retry, at once, for each call.
fn retrying(server: Server) -> tower_keep::http::HttpClient<Server> {
    let budget = RetryBudget::new(Ratio::percent(100).expect("a percentage"));
    let retry = RetryLayer::http()
        .base_delay(Duration::ZERO)
        .budget_per_authority(budget);
    let pipeline = Pipeline::http_client().retry(retry).build();
    pipeline.expect("the layers fit together").layer(server)
}

fn reqwest(cases: &mut Cases, payload: Payload) {
    cases.add_calls(
        payload.pick(["reqwest retry", "reqwest retry, JSON"]),
        |server| {
            let retry = RetryLayer::http().layer(server);
            service_calls(retry, reqwest_requests(payload))
        },
    );
    cases.add_calls(
        payload.pick(["reqwest client", "reqwest client, JSON"]),
        |server| service_calls(client(server), reqwest_requests(payload)),
    );
    cases.add_calls(
        payload.pick(["reqwest client, send", "reqwest client, send JSON"]),
        |server| {
            let (stack, sender) = (client(server), Client::new());
            let mut make = reqwest_requests(payload);
            move || RequestBuilder::from_parts(sender.clone(), make()).send_through(&stack)
        },
    );
    cases.add_retried(
        payload.pick([
            "reqwest client, one retry",
            "reqwest client, one retry, JSON",
        ]),
        |server| service_calls(retrying(server), reqwest_requests(payload)),
    );
}
