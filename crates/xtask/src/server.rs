//! Starting and stopping the servers that tests talk to.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::needs::{Need, Stop};
use crate::problem::Problem;
use crate::scratch::Scratch;
use crate::wait;

const LOG: &str = "log";

/// A running server; dropping it stops it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    need: Need,
    address: SocketAddr,
    scratch: Scratch,
}

impl Server {
    /// Starts the program on a free port of the loopback interface and waits until it accepts
    /// connections.
    pub fn start(need: &Need) -> Result<Self, Problem> {
        let mut server = Self::spawn(need).map_err(|source| Problem::Run {
            program: need.program.to_owned(),
            source,
        })?;
        server.ready().map_err(|reason| Problem::Server {
            name: need.name,
            reason: format!("{reason}\n{}", server.log()),
        })?;
        Ok(server)
    }

    /// Starts them all, or none.
    pub fn start_all(needs: &[Need]) -> Result<Vec<Self>, Problem> {
        needs.iter().map(Self::start).collect()
    }

    /// The environment variable for the tests, and its value.
    pub fn variable(&self) -> (&'static str, String) {
        (self.need.variable, self.address.to_string())
    }

    fn spawn(need: &Need) -> io::Result<Self> {
        let scratch = Scratch::new()?;
        let log = File::create(scratch.path().join(LOG))?;
        let data = scratch.path().join("data");
        fs::create_dir(&data)?;
        let address = free_address()?;
        let child = Command::new(need.program)
            .args((need.args)(address, &data))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self {
            child,
            need: *need,
            address,
            scratch,
        })
    }

    fn ready(&mut self) -> Result<(), String> {
        let address = self.address;
        wait::until(self.need.ready_within, || {
            let accepts = accepts(address);
            // Asked after connecting: another server may accept there once ours has
            // ended.
            match self.child.try_wait() {
                Ok(Some(status)) => Some(Err(format!("it ended with {status}"))),
                Err(error) => Some(Err(error.to_string())),
                Ok(None) => accepts.then_some(Ok(())),
            }
        })
        .unwrap_or_else(|| {
            Err(format!(
                "it accepted no connection within {:?}",
                self.need.ready_within
            ))
        })
    }

    fn log(&self) -> String {
        read_lossy(&self.scratch.path().join(LOG))
    }

    fn stop(&mut self) -> io::Result<ExitStatus> {
        // A server that has ended gets no signal: its number may be another process's by now.
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        if let Stop::Ask(patience) = self.need.stop {
            ask_to_end(&self.child);
            let ended = || self.child.try_wait().transpose();
            if let Some(status) = wait::until(patience, ended) {
                return status;
            }
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{} may still run: {error}", self.need.name);
        }
    }
}

/// A free port, and never the same one twice: nobody holds it until the server listens there, and
/// another server of this process may be started meanwhile.
fn free_address() -> io::Result<SocketAddr> {
    static GIVEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());
    loop {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        if given.insert(address) {
            return Ok(address);
        }
    }
}

fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_secs(1))
        .and_then(|stream| stream.local_addr())
        // The system may pick this very port to connect from, and then it connects to itself.
        .is_ok_and(|from| from != address)
}

/// Sends SIGTERM, by way of the shell: the standard library has no other.
fn ask_to_end(child: &Child) {
    // A server that could not be asked is killed in the end.
    let _ = Command::new("sh")
        .args(["-c", "kill -TERM \"$0\"", &child.id().to_string()])
        .status();
}

fn read_lossy(file: &Path) -> String {
    fs::read(file)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::needs::tests::SLEEPER;
    use std::env;
    use std::thread;

    const SERVE_AT: &str = "XTASK_TEST_SERVE_AT";

    /// A need for this very test program, serving as below.
    pub(crate) const FAKE: Need = Need {
        name: "fake",
        program: "sh",
        package: "dash",
        args: |address, _| fake_args("", address),
        variable: "FAKE_ADDRESS",
        ready_within: Duration::from_secs(30),
        ..SLEEPER
    };

    fn fake_args(first: &str, address: SocketAddr) -> Vec<String> {
        let test = "server::tests::serves_when_told_to";
        let script = format!("{first} {SERVE_AT}=\"$1\" exec \"$0\" --exact {test}");
        let this = env::current_exe().unwrap().to_str().unwrap().to_owned();
        vec!["-c".to_owned(), script, this, address.to_string()]
    }

    #[test]
    fn serves_when_told_to() {
        let Ok(address) = env::var(SERVE_AT) else {
            return;
        };
        let listener = TcpListener::bind(address).unwrap();
        thread::spawn(move || listener.incoming().for_each(drop));
        wait::until(Duration::from_secs(60), || None::<()>);
    }

    fn shell(script: &'static str, args: fn(SocketAddr, &Path) -> Vec<String>) -> Need {
        Need {
            name: script,
            program: "sh",
            args,
            ready_within: Duration::from_secs(30),
            ..SLEEPER
        }
    }

    fn reason(need: &Need) -> String {
        Server::start(need).unwrap_err().to_string()
    }

    #[test]
    fn serves_from_start_to_drop() {
        let servers = Server::start_all(&[FAKE, FAKE]).unwrap();
        let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
        for (server, address) in servers.iter().zip(&addresses) {
            assert_eq!(server.variable(), ("FAKE_ADDRESS", address.to_string()));
            assert!(address.ip().is_loopback());
            assert!(accepts(*address));
        }
        let scratch = servers[0].scratch.path().to_owned();
        drop(servers);
        assert!(!addresses.into_iter().any(accepts));
        assert!(!scratch.exists());
    }

    #[cfg(unix)]
    fn ended_by_signal(need: &Need) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        let mut server = Server::start(need).unwrap();
        let status = server.stop().unwrap();
        assert_eq!(server.stop().unwrap(), status);
        status.signal()
    }

    #[cfg(unix)]
    #[test]
    fn is_killed_at_once_when_that_is_the_way() {
        assert_eq!(ended_by_signal(&FAKE), Some(9));
    }

    #[cfg(unix)]
    #[test]
    fn ends_when_asked() {
        let need = Need {
            stop: Stop::Ask(Duration::from_secs(30)),
            ..FAKE
        };
        assert_eq!(ended_by_signal(&need), Some(15));
    }

    #[cfg(unix)]
    #[test]
    fn is_killed_when_it_does_not_end_for_asking() {
        let need = Need {
            args: |address, _| fake_args("trap '' TERM;", address),
            stop: Stop::Ask(Duration::from_millis(100)),
            ..FAKE
        };
        assert_eq!(ended_by_signal(&need), Some(9));
    }

    #[test]
    fn a_program_that_never_listens_is_not_waited_for_forever() {
        assert_eq!(
            reason(&SLEEPER),
            "sleeper did not start: it accepted no connection within 200ms\n"
        );
    }

    #[test]
    fn a_program_that_ends_is_not_waited_for_and_its_output_is_told() {
        let need = shell("failing", |_, _| {
            vec!["-c".to_owned(), "echo no luck; exit 3".to_owned()]
        });
        assert_eq!(
            reason(&need),
            "failing did not start: it ended with exit status: 3\nno luck\n"
        );
    }

    #[test]
    fn the_directory_for_its_files_exists_and_is_empty() {
        let need = shell("listing", |_, dir| {
            let script = "cd \"$0\" && ls -A && echo listed".to_owned();
            vec!["-c".to_owned(), script, dir.to_str().unwrap().to_owned()]
        });
        assert_eq!(
            reason(&need),
            "listing did not start: it ended with exit status: 0\nlisted\n"
        );
    }

    #[test]
    fn a_missing_program_is_named() {
        let need = Need {
            program: "no-such-program-anywhere",
            ..SLEEPER
        };
        assert!(matches!(
            Server::start(&need),
            Err(Problem::Run { program, .. }) if program == need.program
        ));
    }
}
