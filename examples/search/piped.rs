//! One query a line. Each line replaces the one before it, unless that has ended by then.

use std::{
    fmt::Write as _,
    future::Future,
    io::{self, Write as _},
};

use tokio::sync::mpsc;

use crate::{
    args::Args,
    ended::{Ended, How, farewell},
    pipes::{self, Output},
    query::Query,
    session::{Happened, Session},
    signals::Signals,
    stack::Search,
};

/// Asks each line, writes a record for each query that ends, and says what the exit code is.
pub(crate) async fn run<S: Search>(args: &Args, mut session: Session<S>) -> io::Result<u8> {
    let mut signals = Signals::new()?;
    let mut lines = pipes::lines()?;
    let mut output = Output::new()?;
    let mut code = 0;
    let mut more = true;
    while more || session.is_busy() || session.is_closing() {
        let room = output.room();
        // In the order in which it matters: what ended is told before the next line is asked.
        tokio::select! {
            biased;
            signal = signals.next() => {
                session.close(args.within());
                code = signal.exit_code();
            }
            result = output.over() => return result.map(|()| code),
            happened = session.next() => match happened {
                Happened::Ended(ended) => {
                    if matches!(ended.how, How::Failed(_)) && code == 0 {
                        code = 1;
                    }
                    output.write(record(&ended, args.show));
                }
                Happened::Closed(tally) => {
                    let _ = writeln!(io::stderr(), "{}", farewell(&tally));
                    break;
                }
            },
            line = next(&mut lines, room), if more && !(args.sequential && session.is_busy()) => match line {
                None => more = false,
                Some(line) => if let Some(query) = Query::new(&line?) {
                    session.ask(query).await.map_err(io::Error::other)?;
                },
            },
        }
    }
    tokio::select! {
        result = output.finish() => result?,
        // Nobody reads, nor goes away.
        signal = signals.next() => code = signal.exit_code(),
    }
    Ok(code)
}

/// The next line, once there is room for what it comes to. Nothing is lost if the future is dropped.
async fn next(
    lines: &mut mpsc::Receiver<io::Result<String>>,
    room: impl Future<Output = ()>,
) -> Option<io::Result<String>> {
    room.await;
    lines.recv().await
}

/// A line for the query, and one for each of the best files, indented.
fn record(ended: &Ended, show: usize) -> String {
    let mut text = format!("{ended}\n");
    if let How::Found(found, _) = &ended.how {
        for hit in found.hits.iter().take(show) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "    {}:{}: {}", hit.path, hit.line, hit.text);
        }
    }
    text
}
