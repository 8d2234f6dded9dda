//! A step fails with the user's own error type: the uses that come up most, each as its user would
//! write it.

use std::{convert::Infallible, error::Error, fmt, future::pending, io, num::ParseIntError};

use tokio::time::Instant;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_keep::{
    BoxError, CancelLayer, Job, Rejection, TimeoutLayer, find,
    job::{Cancelled, Elapsed},
    timeout::LimitScope,
};
use tower_keep_tests::{begin, recording, secs};

/// As a program defines it.
#[derive(Debug, thiserror::Error)]
enum App {
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    #[error(transparent)]
    TooSlow(#[from] Elapsed),
    #[error("cannot read")]
    Io(#[from] io::Error),
    #[error("no number")]
    Number(#[from] ParseIntError),
}

/// Of another library: it knows nothing of steps.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("foreign")]
struct Foreign;

impl From<Foreign> for App {
    fn from(_: Foreign) -> Self {
        App::Io(io::Error::other("foreign"))
    }
}

/// Like the error type of `anyhow`: made of every error, and none itself.
struct Report(BoxError);

impl<E: Error + Send + Sync + 'static> From<E> for Report {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

async fn app(value: u32) -> Result<u32, App> {
    Ok(value)
}

async fn boxed(value: u32) -> Result<u32, BoxError> {
    Ok(value)
}

async fn foreign(fails: bool) -> Result<u32, Foreign> {
    if fails { Err(Foreign) } else { Ok(1) }
}

async fn read(name: &str) -> io::Result<String> {
    Ok(name.to_owned())
}

/// R78 `?` in functions that fail with a `BoxError`.
#[tokio::test]
async fn in_a_function_with_a_boxed_error() {
    async fn work() -> Result<u32, BoxError> {
        let job = Job::current().steps(5);
        let one = job.step("a function", boxed(1)).await?;
        let two = job
            .step("a block", async {
                let text = read("2").await?;
                Ok::<_, BoxError>(text.parse::<u32>()?)
            })
            .await?;
        let text = job.step("an io error", read("3")).await?;
        let one_more = job
            .step("foreign", foreign(false))
            .err_into::<BoxError>()
            .await?;
        // The last expression needs no types.
        job.step("the last", async move {
            let three: u32 = text.parse()?;
            Ok(one + two + three + one_more)
        })
        .await
    }
    assert_eq!(work().await.unwrap(), 7);
}

/// R78 `?` in functions that fail with the program's own error.
#[tokio::test]
async fn in_a_function_with_an_error_of_its_own() {
    async fn work(broken: bool) -> Result<u32, App> {
        let job = Job::current().steps(5);
        let one = job.step("a function", app(1)).await?;
        let two = job
            .step("a block", async {
                let text = read("2").await?;
                Ok::<_, App>(text.parse::<u32>()?)
            })
            .await?;
        // Its error becomes the program's by `?`, as it does without a step.
        let text = job.step("an io error", read("3")).await?;
        let one_more = job
            .step("foreign", foreign(broken))
            .err_into::<App>()
            .await?;
        job.step("the last", async move {
            let three: u32 = text.parse()?;
            Ok(one + two + three + one_more)
        })
        .await
    }
    assert_eq!(work(false).await.unwrap(), 7);
    let error = work(true).await.unwrap_err();
    assert!(matches!(error, App::Io(why) if why.to_string() == "foreign"));
}

/// R78 an error type like that of `anyhow`.
#[tokio::test(start_paused = true)]
async fn in_a_function_with_an_error_like_anyhows() {
    async fn work() -> Result<u32, Report> {
        let job = Job::current();
        let one = job
            .step("a block", async { Ok::<_, Report>("1".parse::<u32>()?) })
            .await?;
        let two = job
            .step("foreign", foreign(false))
            .err_into::<Report>()
            .await?;
        let never = pending::<Result<u32, Report>>();
        Ok(one + two + job.step("hangs", never).limit(secs(5)).await?)
    }
    let Report(error) = work().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "time limit of 5s for step \"hangs\" expired"
    );
    assert!(error.is::<Elapsed>());
}

/// R78 a limit and a cancellation are made into the error: by `From`, whichever of the ways the
/// type is known.
#[tokio::test(start_paused = true)]
async fn what_stops_a_step_becomes_its_error() {
    let hangs = || pending::<Result<u32, App>>();
    let job = Job::current();
    let error = job.step("own", hangs()).limit(secs(5)).await.unwrap_err();
    assert!(
        matches!(&error, App::TooSlow(why) if why.limit() == secs(5)),
        "{error:?}"
    );
    let error = job
        .step("boxed", hangs())
        .limit(secs(5))
        .err_into::<BoxError>();
    let error = error.await.unwrap_err();
    assert_eq!(Rejection::of(&*error), Some(Rejection::TimedOut));
    let error = job.step("io", pending::<io::Result<()>>()).limit(secs(5));
    let error = error.await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let name = LimitScope::Step("io".into());
    assert_eq!(find::<Elapsed>(&error).unwrap().scope(), &name);
    let start = Instant::now();
    let foreign = pending::<Result<u32, Foreign>>();
    let error: App = job
        .step("foreign", foreign)
        .err_into()
        .limit(secs(7))
        .await
        .unwrap_err();
    assert!(matches!(error, App::TooSlow(_)), "{error:?}");
    assert_eq!(start.elapsed(), secs(7));
}

/// R78 the limit of a layer, and a cancellation between two steps, in an error of the program's
/// own.
#[tokio::test(start_paused = true)]
async fn under_layers() {
    let cancel = CancelLayer::new().grace(secs(60)).fail_with(App::Cancelled);
    let handle = cancel.handle();
    let service = ServiceBuilder::new()
        .layer(cancel)
        .layer(
            TimeoutLayer::none()
                .step_limit(secs(10))
                .fail_with(App::TooSlow),
        )
        .service(service_fn(|hangs: bool| async move {
            let job = Job::current();
            if hangs {
                return job.step("hangs", pending::<Result<u32, App>>()).await;
            }
            let wait = async {
                tokio::time::sleep(secs(5)).await;
                Ok::<_, App>(1)
            };
            job.step("waits", wait).await?;
            // Cancelled by now.
            assert!(matches!(
                job.step("next", app(2)).await,
                Err(App::Cancelled(_))
            ));
            let read = job.step("read", read("3")).await.unwrap_err();
            assert!(find::<Cancelled>(&read).is_some(), "{read:?}");
            // What has to be done all the same.
            let done = job.step("clean up", foreign(false)).uninterrupted().await;
            assert_eq!(done, Ok(1));
            Err(App::Number("x".parse::<u32>().unwrap_err()))
        }));
    let error = service.clone().oneshot(true).await.unwrap_err();
    assert!(
        matches!(&error, App::TooSlow(why) if why.limit() == secs(10)),
        "{error:?}"
    );

    let mut service = service;
    let call = begin(&mut service, false).await;
    let call = tokio::spawn(call);
    tokio::time::sleep(secs(1)).await;
    assert_eq!(handle.cancel_all("tests"), 1);
    let error = call.await.unwrap().unwrap_err();
    assert!(matches!(error, App::Cancelled(_)), "{error:?}");
}

/// R78 a step that nothing stops: its error type is free, infallible too, and the job counts and
/// reports it as any other.
#[tokio::test(start_paused = true)]
async fn an_uninterrupted_step_runs_to_its_own_end() {
    let (log, recorder) = recording();
    let service = ServiceBuilder::new()
        .layer(log)
        .layer(TimeoutLayer::none().step_limit(secs(1)))
        .service(service_fn(|(): ()| async {
            let job = Job::current().steps(2);
            let slow = async {
                tokio::time::sleep(secs(5)).await;
                Ok::<_, Infallible>(1)
            };
            let Ok(one) = job.step("slow", slow).limit(secs(2)).uninterrupted().await;
            let error = job.step("fails", foreign(true)).uninterrupted().await;
            assert_eq!(error, Err(Foreign));
            Ok::<_, BoxError>(one)
        }));
    assert_eq!(service.oneshot(()).await.unwrap(), 1);
    assert_eq!(
        recorder.times(),
        [
            ("dispatched", secs(0)),
            ("started", secs(0)),
            ("step_started", secs(0)),
            ("progress", secs(5)),
            ("step_succeeded", secs(5)),
            ("step_started", secs(5)),
            ("succeeded", secs(5)),
        ]
    );
}

/// R78 steps inside steps, with errors that differ.
#[tokio::test(start_paused = true)]
async fn nested_steps() {
    async fn work(job: Job) -> Result<u32, App> {
        let outer = async {
            let text = Job::current().step("inner", read("1")).await?;
            let hangs = pending::<Result<u32, Foreign>>();
            let hangs = Job::current().step("hangs", hangs).limit(secs(3));
            let two = hangs.err_into::<App>().await.unwrap_or(2);
            Ok::<_, App>(text.parse::<u32>()? + two)
        };
        job.step("outer", outer)
            .limit(secs(10))
            .grace(secs(1))
            .await
    }
    assert_eq!(work(Job::current()).await.unwrap(), 3);
}

/// R78 a stack's caller can spawn it, whatever its steps fail with.
#[tokio::test]
async fn steps_are_send() {
    let work = async {
        let job = Job::current();
        let text = job.step("read", read("1")).await?;
        job.step("parse", async move { text.parse::<u32>() })
            .err_into::<App>()
            .await
    };
    assert_eq!(tokio::spawn(work).await.unwrap().unwrap(), 1);
}
