//! The stack on paused time, around a search that takes a second.

use std::{
    io,
    num::NonZeroUsize,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tower::service_fn;
use tower_keep::cancel::ShutdownReport;

use crate::{
    ended::{Ended, How},
    error::SearchError,
    found::Found,
    journal::{Journal, Via},
    query::{Ask, Query},
    searcher::searcher,
    session::{Happened, Session},
    stack::{self, Search, Settings},
};

const SETTINGS: Settings = Settings {
    keep: Duration::from_secs(10),
    most: NonZeroUsize::MAX,
    limit: Duration::from_secs(60),
};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// How many searches began, and how many run.
#[derive(Clone, Debug, Default)]
struct Counts(Arc<(AtomicUsize, AtomicUsize)>);

impl Counts {
    fn begun(&self) -> usize {
        self.0.0.load(Ordering::Relaxed)
    }

    fn running(&self) -> usize {
        self.0.1.load(Ordering::Relaxed)
    }
}

struct Running(Counts);

impl Running {
    fn begin(counts: &Counts) -> Self {
        counts.0.0.fetch_add(1, Ordering::Relaxed);
        counts.0.1.fetch_add(1, Ordering::Relaxed);
        Self(counts.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        (self.0.0).1.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a search takes and comes to: `missing` fails for good and `busy` for now, `hang` has no end, the rest is found.
async fn act(ask: Ask, counts: Counts) -> Result<Arc<Found>, SearchError> {
    let _running = Running::begin(&counts);
    let failed = |kind: io::ErrorKind| {
        Err(SearchError::Folder {
            folder: "folder".into(),
            error: Arc::new(kind.into()),
        })
    };
    match &*ask.query.text {
        "missing" => failed(io::ErrorKind::NotFound),
        "busy" => failed(io::ErrorKind::ResourceBusy),
        "hang" => std::future::pending().await,
        _ => {
            sleep(secs(1)).await;
            Ok(Arc::default())
        }
    }
}

fn session(settings: Settings) -> (Session<impl Search>, Counts) {
    let counts = Counts::default();
    let inner = counts.clone();
    let journal = Arc::new(Journal::default());
    let search = service_fn(move |ask| act(ask, inner.clone()));
    let stack = stack::build(search, settings, Arc::clone(&journal));
    (Session::new(stack, journal), counts)
}

async fn ask<S: Search>(session: &mut Session<S>, text: &str) {
    session.ask(Query::new(text).unwrap()).await.unwrap();
}

/// The number of the next search to end, and how it does.
async fn ended<S: Search>(session: &mut Session<S>) -> (u64, How) {
    match session.next().await {
        Happened::Ended(Ended { ask, how }) => (ask.number, how),
        closed @ Happened::Closed(_) => panic!("{closed:?}"),
    }
}

async fn closed<S: Search>(session: &mut Session<S>) -> ShutdownReport {
    match session.next().await {
        Happened::Closed(tally) => tally,
        ended @ Happened::Ended(_) => panic!("{ended:?}"),
    }
}

/// Lets the time pass while the session is looked after.
async fn wait<S: Search>(session: &mut Session<S>, time: Duration) {
    tokio::select! {
        biased;
        happened = session.next() => panic!("{happened:?}"),
        () = sleep(time) => {}
    }
}

/// Asserts what the next search to end is, and how it does.
macro_rules! assert_ended {
    ($session:expr, $number:expr, $how:pat) => {
        let (number, how) = ended(&mut $session).await;
        assert_eq!(number, $number, "{how:?}");
        assert!(matches!(&how, $how), "{how:?}");
    };
}

#[tokio::test(start_paused = true)]
async fn a_different_query_replaces_the_last_and_its_work_is_dropped() {
    let (mut session, counts) = session(SETTINGS);
    ask(&mut session, "hang").await;
    wait(&mut session, secs(5)).await;
    assert_eq!(counts.running(), 1);
    ask(&mut session, "other").await;
    assert_ended!(session, 1, How::Replaced);
    assert_ended!(session, 2, How::Found(_, Via::Own));
    assert_eq!((counts.begun(), counts.running()), (2, 0));
    assert!(!session.is_busy());
}

#[tokio::test(start_paused = true)]
async fn an_equal_query_takes_the_running_search_over() {
    let (mut session, counts) = session(SETTINGS);
    let began = Instant::now();
    ask(&mut session, "tokio spawn").await;
    for text in ["spawn tokio", " TOKIO spawn"] {
        wait(&mut session, Duration::from_millis(300)).await;
        ask(&mut session, text).await;
        let (_, how) = ended(&mut session).await;
        assert!(matches!(how, How::Replaced), "{how:?}");
        assert_eq!((counts.begun(), counts.running()), (1, 1));
    }
    assert_ended!(session, 3, How::Found(_, Via::Joined));
    assert_eq!(began.elapsed(), secs(1), "it did not begin anew");
    assert_eq!((counts.begun(), counts.running()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_search_that_was_taken_over_is_dropped_with_its_last_caller() {
    let (mut session, counts) = session(SETTINGS);
    ask(&mut session, "hang").await;
    wait(&mut session, secs(1)).await;
    ask(&mut session, "HANG").await;
    assert_ended!(session, 1, How::Replaced);
    assert_eq!(counts.running(), 1);
    ask(&mut session, "missing").await;
    assert_ended!(session, 2, How::Replaced);
    assert_ended!(session, 3, How::Failed(SearchError::Folder { .. }));
    assert_eq!((counts.begun(), counts.running()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn results_are_kept_for_a_while_and_only_so_many() {
    let (mut session, counts) = session(Settings {
        most: NonZeroUsize::MIN,
        ..SETTINGS
    });
    ask(&mut session, "a").await;
    assert_ended!(session, 1, How::Found(_, Via::Own));
    wait(&mut session, secs(9)).await;
    let before = Instant::now();
    ask(&mut session, "A").await;
    let (_, how) = ended(&mut session).await;
    assert!(
        matches!(how, How::Found(_, Via::Kept(age)) if age == secs(9)),
        "{how:?}"
    );
    assert_eq!(before.elapsed(), Duration::ZERO);
    wait(&mut session, secs(1)).await;
    ask(&mut session, "a").await;
    assert_ended!(session, 3, How::Found(_, Via::Own));
    // The other one takes its place.
    for number in [4, 5] {
        ask(&mut session, if number == 4 { "b" } else { "a" }).await;
        assert_ended!(session, number, How::Found(_, Via::Own));
    }
    assert_eq!(counts.begun(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_query_that_is_answered_from_what_is_kept_replaces_the_last_too() {
    let (mut session, counts) = session(SETTINGS);
    ask(&mut session, "a").await;
    assert_ended!(session, 1, How::Found(_, Via::Own));
    ask(&mut session, "hang").await;
    wait(&mut session, secs(1)).await;
    ask(&mut session, "a").await;
    let mut hows = [ended(&mut session).await, ended(&mut session).await];
    hows.sort_by_key(|(number, _)| *number);
    assert!(
        matches!(
            &hows,
            [(2, How::Replaced), (3, How::Found(_, Via::Kept(_)))]
        ),
        "{hows:?}"
    );
    assert_eq!(counts.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_if_it_may_pass_and_never_kept() {
    let (mut session, counts) = session(SETTINGS);
    ask(&mut session, "busy").await;
    assert_ended!(session, 1, How::Failed(SearchError::Folder { .. }));
    assert_eq!(counts.begun(), 3);
    for number in [2, 3] {
        ask(&mut session, "missing").await;
        assert_ended!(session, number, How::Failed(SearchError::Folder { .. }));
    }
    assert_eq!(counts.begun(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_search_has_a_limit_that_taking_it_over_does_not_prolong() {
    let (mut session, counts) = session(SETTINGS);
    let began = Instant::now();
    ask(&mut session, "hang").await;
    wait(&mut session, secs(59)).await;
    ask(&mut session, "hang").await;
    assert_ended!(session, 1, How::Replaced);
    assert_ended!(session, 2, How::Failed(SearchError::Timeout(_)));
    assert_eq!((began.elapsed(), counts.running()), (secs(60), 0));
}

#[tokio::test(start_paused = true)]
async fn an_emptied_box_needs_no_result() {
    let (mut session, counts) = session(SETTINGS);
    ask(&mut session, "hang").await;
    wait(&mut session, secs(1)).await;
    session.cancel("the line was emptied");
    let (_, how) = ended(&mut session).await;
    assert_eq!(how.to_string(), "cancelled: the line was emptied");
    assert_eq!(counts.running(), 0);
}

#[tokio::test(start_paused = true)]
async fn at_the_end_the_running_search_may_finish_and_new_ones_are_refused() {
    let (mut session, counts) = session(SETTINGS);
    ask(&mut session, "a").await;
    session.close(secs(10));
    ask(&mut session, "b").await;
    assert_ended!(session, 2, How::Refused);
    assert_ended!(session, 1, How::Found(_, Via::Own));
    let tally = closed(&mut session).await;
    assert_eq!((tally.finished, tally.cancelled, tally.refused), (1, 0, 1));
    assert_eq!(counts.begun(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_has_not_ended_by_then_is_cancelled() {
    let (mut session, counts) = session(SETTINGS);
    ask(&mut session, "hang").await;
    let began = Instant::now();
    session.close(secs(10));
    assert_ended!(
        session,
        1,
        How::Cancelled(tower_keep::CancelReason::Shutdown)
    );
    let tally = closed(&mut session).await;
    assert_eq!((tally.finished, tally.cancelled, tally.refused), (0, 1, 0));
    assert_eq!((began.elapsed(), counts.running()), (secs(10), 0));
}

#[tokio::test(start_paused = true)]
async fn closing_it_a_second_time_waits_for_nothing() {
    let (mut session, _) = session(SETTINGS);
    ask(&mut session, "hang").await;
    let began = Instant::now();
    session.close(secs(10));
    wait(&mut session, secs(1)).await;
    session.close(secs(10));
    assert_ended!(
        session,
        1,
        How::Cancelled(tower_keep::CancelReason::Shutdown)
    );
    assert_eq!(closed(&mut session).await.cancelled, 1);
    assert_eq!(began.elapsed(), secs(1));
}

/// On real time: a thread that blocks does not let the clock pause. Each file would take it an hour.
#[tokio::test]
async fn a_replaced_search_stops_on_its_thread_too() {
    let root: Arc<Path> = Path::new(env!("CARGO_MANIFEST_DIR")).into();
    let journal = Arc::new(Journal::default());
    let search = searcher(Arc::clone(&root), secs(3600));
    let stack = stack::build(search, SETTINGS, Arc::clone(&journal));
    let mut session = Session::new(stack, journal);
    let gone = async {
        ask(&mut session, "a").await;
        // It has the list of the files, and waits before the first.
        while session
            .report()
            .is_none_or(|report| report.steps().is_none())
        {
            wait(&mut session, Duration::from_millis(1)).await;
        }
        ask(&mut session, "b").await;
        assert_ended!(session, 1, How::Replaced);
        session.cancel("enough");
        assert_ended!(session, 2, How::Cancelled(_));
        drop(session);
        // The threads hold it as long as they search.
        while Arc::strong_count(&root) > 1 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(secs(60), gone).await.unwrap();
}
