//! Waiting for something outside this process.

use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(20);

/// Asks again and again until there is an answer or `limit` has passed.
pub(crate) fn until<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let mut left = limit;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if left.is_zero() {
            return None;
        }
        let pause = PAUSE.min(left);
        sleep(pause);
        left -= pause;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "other processes follow the clock on the wall"
)]
fn sleep(pause: Duration) {
    std::thread::sleep(pause);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_until_there_is_an_answer() {
        let mut asked = 0;
        let answer = until(Duration::from_secs(60), || {
            asked += 1;
            (asked == 3).then_some("yes")
        });
        assert_eq!(answer, Some("yes"));
    }

    #[test]
    fn gives_up_in_the_end() {
        assert_eq!(until(Duration::from_millis(50), || None::<()>), None);
    }

    #[test]
    fn asks_once_when_there_is_no_time() {
        assert_eq!(until(Duration::ZERO, || Some(1)), Some(1));
    }
}
