//! The fields of the records, and the exchange in events.

use http::{Method, header::HOST};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{BoxError, Job, LogLayer};
use tower_keep_test::Recorder;
use tower_keep_tests::*;

use super::{Request, Response, answer, exchanges, get, server, statuses};

const REQUEST: &str = r#"http.request.method="GET" server.address="example.com" server.port=8080 "#;

/// The fields of this record that the HTTP log adds, in the order of their names.
fn http_fields(fields: &str) -> String {
    let mut own: Vec<_> = (fields.split_inclusive(' '))
        .filter(|field| field.starts_with("http.") || field.starts_with("server."))
        .collect();
    own.sort_unstable();
    own.concat()
}

/// R39 R40 R41 R42 Each record of an exchange says the method, the server and the port. The last
/// one says the status. Numbers are numbers.
#[tokio::test(start_paused = true)]
async fn records_have_the_fields_of_the_exchange() {
    let (lines, _guard) = Lines::listen();
    let service = ServiceBuilder::new()
        .layer(LogLayer::http())
        .service(service_fn(|_: Request| async {
            Job::current().progress(0.5);
            Ok::<_, BoxError>(answer(204))
        }));
    let request = get("http://Example.com:8080/path?query");
    service.oneshot(request).await.unwrap();
    assert_eq!(
        lines.records(),
        [
            "INFO dispatched",
            "DEBUG started",
            "DEBUG progress",
            "INFO succeeded"
        ]
    );
    let fields: Vec<_> = lines
        .fields()
        .iter()
        .map(|fields| http_fields(fields))
        .collect();
    assert_eq!(fields[..3], [REQUEST; 3]);
    let status = "http.response.status_code=204 ";
    assert_eq!(
        fields[3],
        REQUEST.replace("server.address", &format!("{status}server.address"))
    );
}

/// R39 R42 Without `http()` a record has none of these fields, also with the feature.
#[tokio::test(start_paused = true)]
async fn a_plain_log_has_no_such_fields() {
    let (lines, _guard) = Lines::listen();
    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(LogLayer::new())
        .layer(LogLayer::to(recorder.clone()))
        .service(server().answer(answer(200)).strict());
    service.oneshot(get("http://example.com")).await.unwrap();
    assert_eq!(lines.fields().len(), 3);
    for fields in lines.fields() {
        assert_eq!(http_fields(&fields), "");
    }
    assert!(recorder.events().iter().all(|event| event.http.is_none()));
}

/// R39 R42 Each event carries the exchange. The start has no status, even if the response is there
/// at once.
#[tokio::test(start_paused = true)]
async fn events_carry_the_exchange() {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .service(server().answer(answer(302)).strict());
    service.oneshot(get("https://example.com")).await.unwrap();
    let job = recorder.job();
    assert_eq!(
        statuses(&recorder, job),
        [("dispatched", 0), ("started", 0), ("succeeded", 302)]
    );
    for http in exchanges(&recorder, job) {
        assert_eq!(http.method, "GET");
        assert_eq!(http.authority, Some("example.com".parse().unwrap()));
    }
}

async fn begun_by(request: Request) -> (&'static str, Option<String>) {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .service(server().answer(answer(200)).strict());
    service.oneshot(request).await.unwrap();
    let http = exchanges(&recorder, recorder.job()).remove(0);
    let authority = http.authority.map(|authority| {
        let (host, port) = (authority.host().to_owned(), authority.port());
        format!("{host} {port}")
    });
    (http.method, authority)
}

/// R39 The server is the one of the URL, or else of the header `Host`, without user information.
#[tokio::test(start_paused = true)]
async fn the_server_is_named() {
    for (uri, host, expected) in [
        ("https://example.com/", None, Some("example.com 443")),
        ("http://example.com/", None, Some("example.com 80")),
        (
            "http://me:secret@example.com:81/",
            None,
            Some("example.com 81"),
        ),
        ("http://10.0.0.7:8080/", None, Some("10.0.0.7 8080")),
        ("http://[2001:DB8::1]/", None, Some("2001:db8::1 80")),
        ("https://[::1]/", None, Some("::1 443")),
        ("/", Some("example.com:90"), Some("example.com 90")),
        ("/", Some("me:secret@example.com"), Some("example.com 443")),
        ("/", Some("not a host"), None),
        ("/", None, None),
    ] {
        let mut request = get(uri);
        let headers = request.headers_mut();
        host.map(|host| headers.insert(HOST, host.parse().unwrap()));
        let (_, authority) = begun_by(request).await;
        assert_eq!(authority.as_deref(), expected, "{uri} {host:?}");
    }
}

/// R39 A method that OpenTelemetry does not know is not logged: it may be a secret, or one of
/// endlessly many.
#[tokio::test(start_paused = true)]
async fn an_unknown_method_is_not_logged() {
    for (method, expected) in [
        ("GET", "GET"),
        ("QUERY", "QUERY"),
        ("TRACE", "TRACE"),
        ("get", "_OTHER"),
        ("PURGE", "_OTHER"),
        ("a-very-long-and-secret-token", "_OTHER"),
    ] {
        let mut request = get("http://example.com");
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(begun_by(request).await.0, expected);
    }
}

/// R48 What the log reads costs no byte of the future.
#[tokio::test(start_paused = true)]
async fn the_future_is_as_small_as_a_plain_logs() {
    let inner = || server().answer(answer(200));
    let plain = LogLayer::new().layer(inner()).call(get("/"));
    let http = LogLayer::http().layer(inner()).call(get("/"));
    assert_eq!(size_of_val(&http), size_of_val(&plain));
}

/// R39 R42 R43 The types of reqwest are read too.
#[tokio::test(start_paused = true)]
async fn reqwests_types_are_read() {
    let recorder = Recorder::new();
    let service = ServiceBuilder::new()
        .layer(LogLayer::http_to(recorder.clone()))
        .service(service_fn(|_: reqwest::Request| async {
            let response: Response = answer(500);
            Ok::<_, BoxError>(reqwest::Response::from(response.map(|_| "broken")))
        }));
    let url = "https://me:secret@example.com:8443/secret?token=secret";
    let request = reqwest::Request::new(Method::PUT, url.parse().unwrap());
    assert_eq!(service.oneshot(request).await.unwrap().status(), 500);
    let job = recorder.job();
    assert_eq!(
        statuses(&recorder, job),
        [("dispatched", 0), ("started", 0), ("failed", 500)]
    );
    let http = exchanges(&recorder, job).remove(0);
    assert_eq!(http.method, "PUT");
    assert_eq!(http.authority.unwrap().to_string(), "example.com:8443");
    assert!(!format!("{:?}", recorder.events()).contains("secret"));
}
