//! Attempts one after the other.

use http_body_util::{BodyExt, Empty, Full};

use super::*;

fn ended(all: &str) -> (String, Sent) {
    (all.into(), End)
}

/// R83 A body up to the cap is sent by any number of attempts, with its trailers.
#[test]
fn each_attempt_sends_the_whole_body() {
    let steps = [
        send("one "),
        send(""),
        send("two"),
        Step::Trailers(trailers()),
    ];
    let mut body = ReplayBody::new(Script::new(steps), 7);
    let kept = body.clone();
    for _ in 0..3 {
        assert_eq!(
            rest(&mut body),
            ("one two".into(), Sent::Trailers(trailers()))
        );
        assert!(body.is_end_stream());
        assert_eq!(poll(&mut body), End);
        assert_eq!(poll(&mut body), End);
        assert!(kept.is_replayable());
        body = kept.clone();
    }
}

/// R83 The data is not copied.
#[test]
fn bytes_are_not_copied() {
    let bytes = Bytes::from(vec![7; 50_000]);
    let script = Script::new([Step::Data(bytes.clone())]);
    let body = ReplayBody::new(script, 64 * 1024);
    for mut attempt in [body.clone(), body] {
        let frame = Pin::new(&mut attempt).poll_frame(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Some(Ok(frame))) = frame else {
            panic!("{frame:?}");
        };
        assert_eq!(frame.into_data().unwrap().as_ptr(), bytes.as_ptr());
    }
}

/// R83 A clone that starts in the middle first sends what was recorded, then reads on. The older
/// attempt is woken, and fails when it needs more.
#[test]
fn a_newer_attempt_takes_over() {
    let script = || Script::new([send("one "), Step::Pending, send("two "), send("three")]);
    let mut first = ReplayBody::new(script(), 64);
    assert_eq!(poll(&mut first), data("one "));
    let (woken, waker) = wakes();
    assert_eq!(poll_with(&mut first, &waker), Pending);
    let mut second = first.clone();
    assert_eq!(woken.get(), 0);
    assert_eq!(poll(&mut second), data("one "));
    assert_eq!(woken.get(), 1, "the older attempt is woken");
    assert_eq!(poll(&mut first), Sent::Superseded);
    assert_eq!(poll(&mut first), End, "an error ends the attempt");
    assert!(!first.is_end_stream(), "it is not complete");
    assert_eq!(rest(&mut second), ended("two three"));
    assert_eq!(woken.get(), 1);

    // An older attempt that needs no more than the record may go on.
    let mut first = ReplayBody::new(script(), 64);
    assert_eq!(poll(&mut first), data("one "));
    let mut second = first.clone();
    assert_eq!(rest(&mut second), ("one ".into(), Pending));
    assert_eq!(rest(&mut second), ended("two three"));
    assert_eq!(rest(&mut first), ended("two three"));
}

/// R83 A body that grows beyond the cap reaches the first attempt, and its record is freed at once.
#[test]
fn a_body_above_the_cap_is_sent_once() {
    struct Owner(#[allow(dead_code)] Arc<()>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            b"four"
        }
    }
    let freed = Arc::new(());
    let large = Bytes::from_owner(Owner(Arc::clone(&freed)));
    let mut body = ReplayBody::new(Script::new([Step::Data(large), send("12"), send("3")]), 5);
    let kept = body.clone();
    assert_eq!(poll(&mut body), data("four"));
    assert!(kept.is_replayable());
    assert_eq!(Arc::strong_count(&freed), 2);
    assert_eq!(poll(&mut body), data("12"));
    assert!(!kept.is_replayable());
    assert_eq!(Arc::strong_count(&freed), 1, "the record is freed");
    let mut second = kept.clone();
    assert_eq!(poll(&mut second), Sent::NotReplayable);
    assert_eq!(poll(&mut second), End);
    assert_eq!(rest(&mut body), ended("3"), "the first attempt goes on");
    assert_eq!(poll(&mut kept.clone()), Sent::NotReplayable);
}

/// R83 A body that is known to be larger is not recorded. It can be sent as long as no attempt has
/// begun, as after a refused connection.
#[test]
fn a_body_known_to_be_large_is_not_recorded() {
    let script = Script::new([send("one "), send("two")]).sized();
    let first = ReplayBody::new(script, 6);
    let kept = first.clone();
    drop(first);
    assert!(kept.is_replayable(), "no attempt has begun");
    let mut second = kept.clone();
    assert_eq!(second.size_hint().exact(), Some(7));
    assert_eq!(poll(&mut second), data("one "));
    assert!(!kept.is_replayable());
    assert!(format!("{second:?}").contains("recorded: 0"));
    assert_eq!(rest(&mut second), ended("two"));
}

/// R83 If no other attempt can send the rest of a body, it is dropped with its attempt.
#[test]
fn a_body_that_nobody_can_send_is_dropped() {
    let script = Script::new([send("one "), send("two"), send("three")]);
    let alive = Arc::clone(&script.alive);
    let mut first = ReplayBody::new(script, 5);
    let mut kept = first.clone();
    assert_eq!(poll(&mut first), data("one "));
    assert_eq!(poll(&mut first), data("two"));
    assert_eq!(Arc::strong_count(&alive), 2);
    drop(first);
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!(poll(&mut kept), Sent::NotReplayable);
}

/// R83 An attempt that is dropped leaves the body to the next one, and does not keep its waker.
#[test]
fn a_dropped_attempt_leaves_the_body() {
    let script = Script::new([send("one "), Step::Pending, send("two")]);
    let alive = Arc::clone(&script.alive);
    let mut first = ReplayBody::new(script, 64);
    let (woken, waker) = wakes();
    let kept = first.clone();
    assert_eq!(poll(&mut first), data("one "));
    assert_eq!(poll_with(&mut first, &waker), Pending);
    drop((first, waker));
    assert_eq!(Arc::strong_count(&woken), 1);
    assert_eq!(rest(&mut kept.clone()), ended("one two"));
    assert_eq!(woken.get(), 0);
    assert_eq!(rest(&mut kept.clone()), ended("one two"));
    drop(kept);
    assert_eq!(Arc::strong_count(&alive), 1);
}

/// R83 A body that fails is not replayable.
#[test]
fn a_body_that_fails_is_not_replayable() {
    let script = Script::new([send("one "), Step::Error, send("two")]);
    let alive = Arc::clone(&script.alive);
    let mut first = ReplayBody::new(script, 64);
    let kept = first.clone();
    assert_eq!(rest(&mut first), ("one ".into(), Sent::Error));
    assert_eq!(poll(&mut first), End);
    assert!(!first.is_end_stream());
    assert!(!kept.is_replayable());
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!(poll(&mut kept.clone()), Sent::NotReplayable);
}

/// R83 Size and end are the inner body's in each attempt, at each point, so that `Content-Length` is
/// the same.
#[test]
fn size_and_end_stay_exact() {
    let mut script = Script::new([send("one "), send("two")]).sized();
    script.knows_end = true;
    let mut first = ReplayBody::new(script, 64);
    let size = |body: &ReplayBody<Script>| (body.size_hint().exact(), body.is_end_stream());
    assert_eq!(size(&first), (Some(7), false));
    let kept = first.clone();
    assert_eq!(poll(&mut first), data("one "));
    assert_eq!(size(&first), (Some(3), false));
    let mut second = kept.clone();
    assert_eq!(size(&second), (Some(7), false));
    assert_eq!(poll(&mut second), data("one "));
    assert_eq!(size(&second), (Some(3), false));
    assert_eq!(poll(&mut second), data("two"));
    assert_eq!(size(&second), (Some(0), true));
    assert_eq!(size(&kept), (Some(7), false));
    assert_eq!(poll(&mut second), End);

    let mut unknown = ReplayBody::new(Script::new([send("one")]), 64);
    assert_eq!(size(&unknown), (None, false));
    let kept = unknown.clone();
    assert_eq!(rest(&mut unknown), ended("one"));
    // The size is known now, but with it a transport would send other headers, and no trailers.
    assert_eq!(size(&kept), (None, false));

    let empty = ReplayBody::new(Empty::<Bytes>::new().map_err(|never| match never {}), 0);
    assert_eq!(
        (empty.size_hint().exact(), empty.is_end_stream()),
        (Some(0), true)
    );
}

/// R83 Any buffer can be the data of the inner body, and the cap can be 0.
#[test]
fn other_buffers_and_a_cap_of_zero() {
    let body = Full::new(std::collections::VecDeque::from(*b"data"));
    let mut first = ReplayBody::new(body.map_err(|never| match never {}), 0);
    let kept = first.clone();
    assert_eq!(rest(&mut first), ended("data"));
    assert!(!kept.is_replayable());
    let mut empty = ReplayBody::new(Script::new([]), 0);
    let kept = empty.clone();
    assert_eq!(rest(&mut empty), ended(""));
    assert!(kept.is_replayable());
    assert_eq!(rest(&mut kept.clone()), ended(""));
}

/// R83 The body goes to other threads if the inner body does, and shows no content.
#[test]
fn bounds_and_debug() {
    fn sent<T: Send + Sync + Unpin + Clone + 'static>(value: T) -> T {
        value
    }
    struct SendOnly(#[allow(dead_code)] std::cell::Cell<u8>);
    impl Body for SendOnly {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(None)
        }
    }
    sent(ReplayBody::new(SendOnly(std::cell::Cell::new(0)), 1));
    let mut body = sent(ReplayBody::new(Script::new([send("secret")]), 64));
    assert_eq!(poll(&mut body), data("secret"));
    let shown = format!("{body:?}");
    assert!(
        shown.contains("recorded: 6") && !shown.contains("secret"),
        "{shown}"
    );
}
