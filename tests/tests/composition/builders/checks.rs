//! What is tried with a setter, after a clone, a handle and a service.

use std::{fmt::Debug, time::Duration};

use tower::{Layer, Service};
use tower_keep::RetryLayer;
use tower_keep_test::Scripted;

use super::{
    source::Setter,
    witness::{Base, Broken, Check, View, Witness, broken, waits},
};

/// One setter, and what is tried with it.
pub(super) struct Row {
    pub(super) setter: Setter,
    pub(super) checks: Vec<(&'static str, Check)>,
}

pub(super) fn check(check: impl FnOnce() -> Result<(), String> + 'static) -> Check {
    Box::new(|| Box::pin(async { check() }))
}

pub(super) fn same(what: &str, left: &str, right: &str) -> Result<(), String> {
    if left == right {
        return Ok(());
    }
    Err(format!("{what}: {left} is not {right}"))
}

pub(super) fn ensure(holds: bool, problem: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(problem.to_owned())
    }
}

/// Without state: the settings are all there is.
pub(super) fn settings<A, B, S>(base: fn() -> A, set: S) -> Check
where
    A: Clone + Debug + 'static,
    B: Debug,
    S: Fn(A) -> B + Copy + 'static,
{
    check(move || {
        let other = base();
        let before = format!("{other:?}");
        let changed = set(other.clone());
        same("the clone", &format!("{other:?}"), &before)?;
        same(
            "the new one",
            &format!("{changed:?}"),
            &format!("{:?}", set(base())),
        )
    })
}

/// What is done to the new layer is seen by its own handle, and not by `other`.
fn only_own_sees(changed: &impl Witness, other: &View) -> Result<(), String> {
    let own = changed.view();
    let _kept = changed.touch();
    ensure(own(), "its own handle does not see its state")?;
    ensure(!other(), "the other handle sees its state")
}

pub(super) fn after_clone<A, B, S>(base: fn() -> A, set: S) -> Check
where
    A: Witness + 'static,
    B: Witness,
    S: Fn(A) -> B + Copy + 'static,
{
    check(move || {
        let other = base();
        let before = format!("{other:?}");
        let changed = set(other.clone());
        same("the clone", &format!("{other:?}"), &before)?;
        same(
            "the new one",
            &format!("{changed:?}"),
            &format!("{:?}", set(base())),
        )?;
        only_own_sees(&changed, &other.view())?;

        let other = base();
        let changed = set(other.clone());
        let (seen, own) = (other.view(), changed.view());
        let _kept = other.touch();
        ensure(seen(), "the other's handle does not see the other's state")?;
        ensure(!own(), "its own handle sees the other's state")
    })
}

pub(super) fn after_handle<A, B, S>(base: fn() -> A, set: S) -> Check
where
    A: Witness + 'static,
    B: Witness,
    S: Fn(A) -> B + Copy + 'static,
{
    check(move || {
        let layer = base();
        let seen = layer.view();
        let changed = set(layer);
        only_own_sees(&changed, &seen)
    })
}

pub(super) fn after_service<A, B, S>(base: fn() -> A, set: S) -> Check
where
    A: Base + 'static,
    B: Witness,
    S: Fn(A) -> B + Copy + 'static,
{
    check(move || {
        let layer = base();
        let call = layer.service();
        let changed = set(layer);
        let own = changed.view();
        let _kept = call();
        ensure(
            !own(),
            "its own handle sees the calls of the service of before",
        )?;

        let layer = base();
        let (call, seen) = (layer.service(), layer.view());
        let _kept = call();
        ensure(seen(), "a handle does not see the calls of a service")
    })
}

/// The nth call of the other, and of the new one, waits as if there was no other.
pub(super) fn chance<A, B, S>(base: fn() -> A, set: S, by_service: bool) -> Check
where
    A: Clone + Waits + 'static,
    B: Waits + 'static,
    S: Fn(A) -> B + Copy + 'static,
{
    Box::new(move || {
        Box::pin(async move {
            let layer = base();
            let other = layer.clone();
            let kept = by_service.then(|| layer.keep());
            let changed = set(layer);
            let first = changed.waits().await;
            let as_fresh = set(base()).waits().await;
            ensure(first == as_fresh, "its chance is not that of a fresh layer")?;
            let (first, fresh) = (other.waits().await, base().waits().await);
            drop(kept);
            ensure(first == fresh, "the other's chance went on")
        })
    })
}

/// A retry, whichever its types.
pub(super) trait Waits {
    async fn waits(&self) -> Duration;
    /// A service of it.
    fn keep(&self) -> Box<dyn std::any::Any>;
}

impl<P, X> Waits for RetryLayer<P, X>
where
    Self: Layer<Broken, Service: Service<u32> + 'static>,
{
    async fn waits(&self) -> Duration {
        waits(self).await
    }

    fn keep(&self) -> Box<dyn std::any::Any> {
        Box::new(self.layer(broken()))
    }
}

/// What is wrong with a setter of a builder that cannot be copied: it has to refuse.
pub(super) fn refused<S>(set: S) -> Check
where
    S: Fn(Scripted<u32, u32>) -> Scripted<u32, u32> + Copy + 'static,
{
    use std::panic::{AssertUnwindSafe, catch_unwind};
    let refuses = move |service: Scripted<u32, u32>| {
        let caught = catch_unwind(AssertUnwindSafe(|| drop(set(service))));
        ensure(caught.is_err(), "it changes what others use")
    };
    check(move || {
        let base = || Scripted::<u32, u32>::new().answer(1);
        let other = base();
        let before = format!("{other:?}");
        refuses(other.clone())?;
        same("the clone", &format!("{other:?}"), &before)?;
        let service = base();
        let calls = service.calls();
        refuses(service)?;
        ensure(calls.unused() == 1, "the record changed")?;
        let fresh = catch_unwind(AssertUnwindSafe(|| drop(set(base()))));
        ensure(fresh.is_ok(), "it refuses a service that nobody uses")
    })
}

macro_rules! checks {
    (settings, $base:expr, $set:expr) => {
        vec![("a clone", settings(|| $base, $set))]
    };
    (shared, $base:expr, $set:expr) => {
        vec![
            ("a clone", after_clone(|| $base, $set)),
            ("a handle", after_handle(|| $base, $set)),
            ("a service", after_service(|| $base, $set)),
        ]
    };
    (circuits, $base:expr, |$layer:ident| $set:expr) => {
        checks!(shared, circuit($base, |layer| layer.handle()), |base| {
            let $layer = base.layer;
            circuit($set, |layer| layer.handle())
        })
    };
    (cloned, $base:expr, $set:expr) => {
        vec![("a clone", after_clone(|| $base, $set))]
    };
    (chance, $base:expr, $set:expr) => {
        vec![
            ("a clone", chance(|| $base, $set, false)),
            ("a service", chance(|| $base, $set, true)),
        ]
    };
    (refused, $base:expr, $set:expr) => {
        vec![("anything", refused($set))]
    };
}

pub(super) use checks;
