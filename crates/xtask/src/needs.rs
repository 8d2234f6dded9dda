//! What the tests need beyond cargo.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// A server that some tests talk to.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// What people call it.
    pub name: &'static str,
    /// The program to look for on `PATH`.
    pub program: &'static str,
    /// The Debian package that brings the program.
    pub package: &'static str,
    /// The feature of `tower-keep-tests` whose tests need it.
    pub feature: &'static str,
    /// The program's arguments for serving at an address, with an empty directory to keep its files
    /// in.
    pub args: fn(SocketAddr, &Path) -> Vec<String>,
    /// The environment variable that tells the tests its `host:port`.
    pub variable: &'static str,
    /// How long it may take to accept its first connection.
    pub ready_within: Duration,
    /// How to stop it.
    pub stop: Stop,
}

/// How to stop a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Kill it at once.
    Kill,
    /// Ask it to end, so that it can end its children; kill it when it has not ended
    /// after this long.
    Ask(Duration),
}

/// Every server that some test needs: none so far.
pub static NEEDS: &[Need] = &[];

/// The features that these needs unlock, each once.
pub fn features(needs: &[Need]) -> Vec<&'static str> {
    let mut features: Vec<_> = needs.iter().map(|need| need.feature).collect();
    features.sort_unstable();
    features.dedup();
    features
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A need for a program that every machine has and that never listens.
    pub(crate) const SLEEPER: Need = Need {
        name: "sleeper",
        program: "sleep",
        package: "coreutils",
        feature: "servers",
        args: |_, _| vec!["60".to_owned()],
        variable: "SLEEPER_ADDRESS",
        ready_within: Duration::from_millis(200),
        stop: Stop::Kill,
    };

    #[test]
    fn no_needs_unlock_no_features() {
        assert!(features(&[]).is_empty());
    }

    #[test]
    fn a_feature_shared_by_two_needs_is_named_once() {
        let browser = Need {
            feature: "browser",
            ..SLEEPER
        };
        assert_eq!(
            features(&[SLEEPER, browser, SLEEPER]),
            ["browser", "servers"]
        );
    }
}
