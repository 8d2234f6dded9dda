//! The README's recipes: their code is the README's, and does what the README says.

mod code;
mod with_axum;
mod with_dispatcher;
mod with_hyper;
mod with_reqwest;
mod with_towers_layers;

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, routing};
use tokio_util::sync::CancellationToken;
use tower_keep::cancel::CancelHandle;

use self::code::axum_recipe;

/// The axum recipe's route.
fn defended(stopping: CancellationToken, within: Duration) -> (Router, CancelHandle) {
    let routes = Router::new().route("/report", routing::get(axum_recipe::report));
    axum_recipe::defend(routes, stopping, within)
}

/// What is written to tracing on this thread from now on, as text.
fn records() -> (impl Fn() -> String, impl Sized) {
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Written {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(text);
            Ok(text.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .finish();
    // With one subscriber in the program, tracing decides on a call site by the thread that is
    // there first, which may be that of a test without any.
    let second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    let guard = tracing::subscriber::set_default(subscriber);
    let read = move || String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    (read, (guard, second))
}

/// How many of the log's records have this text.
fn count(records: &str, text: &str) -> usize {
    records
        .lines()
        .filter(|line| line.contains("tower_keep::log") && line.contains(text))
        .count()
}

/// The code of the recipes is the README's, apart from imports and layout.
#[test]
fn as_they_stand_in_the_readme() {
    let readme = include_str!("../../../../README.md");
    for (before, here) in [
        (
            "\n### Add it to axum\n",
            include_str!("code/axum_recipe.rs"),
        ),
        (
            "graceful shutdown:\n",
            include_str!("code/bounded_shutdown.rs"),
        ),
        (
            "\n### Run jobs that outlive their callers\n",
            include_str!("code/dispatch_recipe.rs"),
        ),
        (
            "\n### Add it to a hyper server\n",
            include_str!("code/hyper_recipe.rs"),
        ),
        (
            "\n### Wrap a reqwest client\n",
            include_str!("code/reqwest_recipe.rs"),
        ),
    ] {
        let there = between(readme, before, "\n## ");
        let there = between(there, "\n```rust\n", "\n```\n");
        assert_eq!(bare(here), bare(there), "{before}");
    }
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, text) = text.split_once(begin).expect(begin);
    let (text, _) = text.split_once(end).expect(end);
    text
}

/// The code without imports, line breaks, space, and what a module or rustfmt has to add.
fn bare(code: &str) -> String {
    let mut bare = String::new();
    let mut imports = false;
    for line in code.lines() {
        let line = line.trim();
        imports |= line.starts_with("use ");
        if !imports && !line.starts_with("//!") {
            let line = line.trim_start_matches("///");
            let line = line.trim_start_matches("pub(crate) ");
            bare.extend(line.chars().filter(|c| !c.is_whitespace()));
        }
        imports &= !line.ends_with(';');
    }
    [",)", ",}", ",]"]
        .iter()
        .fold(bare, |bare, pair| bare.replace(pair, &pair[1..]))
}
