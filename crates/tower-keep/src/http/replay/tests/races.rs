//! An attempt begins while another polls the inner body: a step of the script polls the other one
//! in the middle of that poll, as another thread would.

use std::{panic::AssertUnwindSafe, sync::Mutex};

use super::*;

type Other = Arc<Mutex<Option<ReplayBody<Script>>>>;

/// The first attempt sends "one ", then begins the second in the middle of its second poll.
fn raced(
    cap: usize,
    then: impl IntoIterator<Item = Step>,
) -> (Sent, ReplayBody<Script>, Other, Arc<Wakes>) {
    let other: Other = Arc::default();
    let (woken, waker) = wakes();
    let begin: Box<dyn FnOnce() + Send> = Box::new({
        let other = Arc::clone(&other);
        move || {
            let mut other = other.lock().unwrap();
            let other = other.as_mut().unwrap();
            assert_eq!(poll(other), data("one "));
            assert!(!other.is_end_stream());
            assert_eq!(
                poll_with(other, &waker),
                Pending,
                "the inner body is being polled"
            );
        }
    });
    let steps = [send("one "), Step::Run(begin)].into_iter().chain(then);
    let mut first = ReplayBody::new(Script::new(steps), cap);
    *other.lock().unwrap() = Some(first.clone());
    assert_eq!(poll(&mut first), data("one "));
    let poll = AssertUnwindSafe(|| poll(&mut first));
    let sent = std::panic::catch_unwind(poll).unwrap_or(Sent::Error);
    assert_eq!(woken.get(), 1, "the newer attempt is woken");
    (sent, first, other, woken)
}

fn rest_of(other: &Other) -> (String, Sent) {
    rest(other.lock().unwrap().as_mut().unwrap())
}

/// R83 The frame that the older attempt still gets also reaches the newer one.
#[test]
fn a_frame_reaches_both() {
    let (sent, mut first, other, _) = raced(64, [send("two "), send("three")]);
    assert_eq!(sent, data("two "));
    assert_eq!(poll(&mut first), Sent::Superseded);
    assert_eq!(rest_of(&other), ("two three".into(), End));
}

/// R83 The older attempt does not wait for a body that it may not read.
#[test]
fn a_pending_body_goes_to_the_newer_attempt() {
    let (sent, _, other, _) = raced(64, [Step::Pending, send("two")]);
    assert_eq!(sent, Sent::Superseded);
    assert_eq!(rest_of(&other), ("two".into(), End));
}

/// R83 The end that the older attempt sees is the end for both.
#[test]
fn the_end_is_the_end_for_both() {
    let (sent, _, other, _) = raced(64, []);
    assert_eq!(sent, End);
    assert_eq!(rest_of(&other), (String::new(), End));
    let (sent, _, other, _) = raced(64, [Step::Trailers(trailers())]);
    assert_eq!(sent, Sent::Trailers(trailers()));
    assert_eq!(rest_of(&other), (String::new(), Sent::Trailers(trailers())));
}

/// R83 A body that grows beyond the cap in this moment is complete in the newer attempt.
#[test]
fn growing_beyond_the_cap_loses_nothing() {
    let (sent, first, other, _) = raced(5, [send("two "), send("three")]);
    assert_eq!(sent, data("two "));
    assert!(!first.is_replayable());
    let mut third = first.clone();
    assert_eq!(poll(&mut third), Sent::NotReplayable);
    assert_eq!(rest_of(&other), ("two three".into(), End));
    assert!(format!("{first:?}").contains("recorded: 0"), "{first:?}");
}

/// R83 After an error or a panic of the body, nobody waits for it.
#[test]
fn an_error_and_a_panic_reach_the_newer_attempt() {
    for step in [Step::Error, Step::Panic] {
        let (sent, mut first, other, _) = raced(64, [step]);
        assert_eq!(sent, Sent::Error);
        assert!(!first.is_replayable());
        assert_eq!(rest_of(&other), (String::new(), Sent::NotReplayable));
        assert!(matches!(poll(&mut first), End | Sent::Superseded));
    }
}

/// R83 Attempts in several threads, which begin, send and end at any time: the last one sends all,
/// and each gets a beginning of the body.
#[test]
fn attempts_in_several_threads() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let content: String = (0..50).map(|n| char::from(b'a' + n % 26)).collect();
        let steps = (0..50).flat_map(|n| {
            let byte = Bytes::copy_from_slice(&content.as_bytes()[n..=n]);
            let pends = random.bool().then_some(Step::Pending);
            pends
                .into_iter()
                .chain([Step::Data(byte)])
                .collect::<Vec<_>>()
        });
        let kept = ReplayBody::new(Script::new(steps), 64);
        let attempt = |mut body: ReplayBody<Script>| {
            let mut all = String::new();
            loop {
                let (more, end) = rest(&mut body);
                all += &more;
                match end {
                    // The script is ready again at once.
                    Pending => std::thread::yield_now(),
                    end => return (all, end),
                }
            }
        };
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let body = kept.clone();
                std::thread::spawn(move || attempt(body))
            })
            .collect();
        let mut complete = 0;
        for thread in threads {
            let (all, end) = thread.join().unwrap();
            assert!(content.starts_with(&all));
            match end {
                End => {
                    complete += 1;
                    assert_eq!(all, content);
                }
                end => assert_eq!(end, Sent::Superseded),
            }
        }
        assert!(complete > 0, "the newest attempt sends all");
        assert_eq!(attempt(kept), (content, End));
    }
}
