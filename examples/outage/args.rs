//! The command line.

use std::path::PathBuf;

use clap::{Parser, value_parser};

use crate::day::Day;

/// Simulates a day on which a backend browns out, once for each of four ways to call it.
///
/// At noon, when most is asked for, all takes four times as long for ten minutes, and for four
/// minutes of them the backend is down. The same seed gives the same output.
#[derive(Debug, Parser)]
#[command(name = "outage")]
pub(crate) struct Args {
    /// What all chance is made from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// How many clients there are, from 1000 to 100000
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = value_parser!(u32).range(1000..=100_000))]
    clients: u32,

    /// How many hours around noon, from 2 to 24
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = value_parser!(u32).range(2..=24))]
    hours: u32,

    /// Where the picture goes
    #[arg(long, short, value_name = "FILE", default_value = "outage.svg")]
    pub(crate) out: PathBuf,
}

impl Args {
    pub(crate) fn day(&self) -> Day {
        Day {
            hours: self.hours,
            clients: self.clients,
            seed: self.seed,
        }
    }
}
