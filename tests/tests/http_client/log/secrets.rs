//! What events, records and views must not show.

use http::{HeaderValue, Method, header};
use tower::ServiceBuilder;
use tower_keep::{LogLayer, ProgressLayer, RetryLayer};
use tower_keep_test::Recorder;
use tower_keep_tests::*;

use super::{Request, answer, boxed_server};

/// Contained in each part of the request and of the response that may hold a secret.
const SECRET: &str = "hunter2";

fn secret_request(method: &str) -> Request {
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(format!(
            "https://me:{SECRET}@example.com/{SECRET}?token={SECRET}"
        ))
        .header(header::AUTHORIZATION, format!("Bearer {SECRET}"))
        .header(header::COOKIE, format!("session={SECRET}"))
        .body(())
        .unwrap();
    let mut value = HeaderValue::from_static(SECRET);
    value.set_sensitive(true);
    request.headers_mut().insert("x-api-key", value);
    request.extensions_mut().insert(SECRET);
    request
}

/// R39 R43 R75 No secret of a request or a response is in an event, in the `Debug` of one, in a
/// record, in a view, or in the `Debug` of the service.
#[tokio::test(start_paused = true)]
async fn secrets_are_not_shown() {
    let (lines, _guard) = Lines::listen();
    let recorder = Recorder::new();
    let board = ProgressLayer::new();
    let views = board.handle();
    let mut response = answer(503);
    let cookie = HeaderValue::from_str(&format!("session={SECRET}")).unwrap();
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    let error = format!("cannot send to https://me:{SECRET}@example.com/?token={SECRET}");
    let inner = boxed_server()
        .error(error.clone().into())
        .answer(response)
        .error(error.clone().into())
        .error(error.into());
    let mut service = ServiceBuilder::new()
        .layer(LogLayer::http())
        .layer(LogLayer::http_to(recorder.clone()))
        .layer(board)
        .layer(RetryLayer::new().max_retries(1))
        .service(inner.strict());
    let debug = format!("{service:?}");
    begin(&mut service, secret_request("POST"))
        .await
        .await
        .unwrap();
    let method = format!("X-{SECRET}");
    begin(&mut service, secret_request(&method))
        .await
        .await
        .unwrap_err();
    assert_eq!(recorder.jobs().len(), 2);
    assert!(recorder.count("retry_scheduled") == 2);
    for event in recorder.events() {
        assert!(event.http.is_some());
        for shown in [format!("{event:?}"), serde_json::to_string(&event).unwrap()] {
            assert!(!shown.contains(SECRET), "{shown}");
        }
    }
    let fields = lines.fields();
    assert!(
        fields
            .iter()
            .any(|fields| fields.contains("status_code=503"))
    );
    for fields in fields {
        assert!(
            fields.contains(r#"server.address="example.com""#),
            "{fields}"
        );
        assert!(!fields.contains(SECRET), "{fields}");
    }
    let views = format!("{:?}", views.snapshot());
    assert!(views.contains("the server answered 503"), "{views}");
    assert!(!views.contains(SECRET), "{views}");
    assert!(!debug.contains(SECRET), "{debug}");
}

/// R39 R75 An event that is read from data drops user information, too.
#[test]
fn user_information_in_data_is_dropped() {
    let data = serde_json::json!({
        "job": "7", "name": "", "attempt": 1, "seq": 0, "at": 0, "elapsed_ms": 0,
        "http": {"method": SECRET, "authority": format!("me:{SECRET}@example.com")},
        "kind": {"type": "started"},
    });
    let event: tower_keep::Event = serde_json::from_value(data).unwrap();
    assert!(!format!("{event:?}").contains(SECRET), "{event:?}");
    assert_eq!(
        event.http.unwrap().authority.unwrap().to_string(),
        "example.com"
    );
}
