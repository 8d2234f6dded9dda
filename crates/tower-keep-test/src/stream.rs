//! Judging and printing a stream of events.

use std::{fmt, time::Duration};

use tower_keep::{Event, EventKind, JobId, StepInfo};

/// What the rules and the printed line need of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    job: JobId,
    name: &'a str,
    parent: Option<JobId>,
    attempt: u32,
    seq: u64,
    elapsed: Duration,
    step: Option<&'a StepInfo>,
    kind: &'a EventKind,
}

impl<'a> From<&'a Event> for Line<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            job: event.job,
            name: &event.name,
            parent: event.parent,
            attempt: event.attempt,
            seq: event.seq,
            elapsed: event.elapsed,
            step: event.step.as_ref(),
            kind: &event.kind,
        }
    }
}

/// The events of any number of jobs, in the order they came.
#[derive(Debug)]
pub(crate) struct Stream<'a>(Vec<Line<'a>>);

impl<'a> Stream<'a> {
    pub(crate) fn of(events: &'a [Event]) -> Self {
        Self(events.iter().map(Line::from).collect())
    }

    /// What is wrong with it, one sentence each.
    pub(crate) fn faults(&self) -> Vec<String> {
        if self.0.is_empty() {
            return vec!["no event was recorded".to_owned()];
        }
        let mut jobs: Vec<JobId> = self.0.iter().map(|line| line.job).collect();
        jobs.sort_unstable();
        jobs.dedup();
        jobs.into_iter()
            .flat_map(|job| self.faults_of(job))
            .collect()
    }

    fn faults_of(&self, job: JobId) -> Vec<String> {
        let lines: Vec<Line<'_>> = self
            .0
            .iter()
            .copied()
            .filter(|line| line.job == job)
            .collect();
        let place =
            |wanted: &dyn Fn(&EventKind) -> bool| lines.iter().position(|line| wanted(line.kind));
        let count = |wanted: &dyn Fn(&EventKind) -> bool| {
            lines.iter().filter(|line| wanted(line.kind)).count()
        };
        let dispatched = |kind: &EventKind| matches!(kind, EventKind::Dispatched);
        let started = |kind: &EventKind| matches!(kind, EventKind::Started);
        let progress = |kind: &EventKind| {
            matches!(
                kind,
                EventKind::Progress(_)
                    | EventKind::StepStarted { .. }
                    | EventKind::StepSucceeded { .. }
            )
        };

        let mut faults = Vec::new();
        let mut check = |holds: bool, fault: String| {
            if !holds {
                faults.push(format!("job {job}: {fault}"));
            }
        };
        check(
            place(&dispatched) == Some(0),
            "the first event is not `dispatched`".to_owned(),
        );
        check(
            count(&dispatched) <= 1,
            format!("`dispatched` comes {} times", count(&dispatched)),
        );
        check(
            count(&EventKind::is_terminal) == 1,
            format!(
                "{} terminal events instead of one",
                count(&EventKind::is_terminal)
            ),
        );
        check(
            lines.last().is_some_and(|line| line.kind.is_terminal()),
            "the last event is not terminal".to_owned(),
        );
        check(
            count(&started) <= 1,
            format!("`started` comes {} times", count(&started)),
        );
        if let Some(progress) = place(&progress) {
            check(
                place(&started).is_some_and(|started| started < progress),
                "progress before `started`".to_owned(),
            );
        }
        for (wanted, line) in (0..).zip(&lines) {
            if line.seq != wanted {
                check(
                    false,
                    format!(
                        "the sequence numbers have #{} where #{wanted} belongs",
                        line.seq
                    ),
                );
                break;
            }
        }
        faults
    }
}

impl fmt::Display for Stream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "recorded: {} events", self.0.len())?;
        for line in &self.0 {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {}", self.job)?;
        if !self.name.is_empty() {
            write!(f, " {:?}", self.name)?;
        }
        if let Some(parent) = self.parent {
            write!(f, " (of job {parent})")?;
        }
        write!(
            f,
            "  #{:<2} +{:<8} attempt {}  {}",
            self.seq,
            format!("{:?}", self.elapsed),
            self.attempt,
            self.kind.name(),
        )?;
        // Only what carries something says more than its name.
        let detail = format!("{:?}", self.kind);
        if let Some(start) = detail.find([' ', '(']) {
            write!(f, "  {}", detail[start..].trim_start())?;
        }
        if let Some(step) = self.step {
            write!(f, "  in {step}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tower_keep::{CancelReason, Report};

    use super::*;
    use crate::secs;

    /// A stream of jobs and what happened to them; sequence numbers are counted per job, unless one is given.
    fn faults(events: &[(u64, EventKind)]) -> Vec<String> {
        let mut next = std::collections::HashMap::new();
        let lines = events.iter().map(|(job, kind)| {
            let seq = next.entry(*job).or_insert(0);
            *seq += 1;
            line(*job, *seq - 1, kind)
        });
        Stream(lines.collect()).faults()
    }

    fn line(job: u64, seq: u64, kind: &EventKind) -> Line<'_> {
        Line {
            job: JobId::from_u64(job).unwrap(),
            name: "import",
            parent: None,
            attempt: 1,
            seq,
            elapsed: secs(seq),
            step: None,
            kind,
        }
    }

    fn cancelled() -> EventKind {
        EventKind::Cancelled {
            reason: CancelReason::Requested,
            dropped: true,
        }
    }

    use EventKind::{Dispatched, Progress, Started, Succeeded};

    #[test]
    fn whole_streams_have_no_fault() {
        assert!(faults(&[(1, Dispatched), (1, Started), (1, Succeeded)]).is_empty());
        assert!(faults(&[(1, Dispatched), (1, cancelled())]).is_empty());
        assert!(
            faults(&[
                (1, Dispatched),
                (2, Dispatched),
                (1, Started),
                (1, Progress(Report::new(0.5))),
                (2, cancelled()),
                (1, Succeeded),
            ])
            .is_empty()
        );
    }

    #[test]
    fn each_rule_is_checked() {
        let report = || Progress(Report::new(0.5));
        let cases = [
            (vec![], "no event was recorded"),
            (
                vec![(1, Started), (1, Succeeded)],
                "job 1: the first event is not `dispatched`",
            ),
            (
                vec![(1, Dispatched), (1, Dispatched), (1, Succeeded)],
                "job 1: `dispatched` comes 2 times",
            ),
            (
                vec![(1, Dispatched), (1, Succeeded), (1, Succeeded)],
                "job 1: 2 terminal events instead of one",
            ),
            (
                vec![(1, Dispatched), (1, Succeeded), (1, Started)],
                "job 1: the last event is not terminal",
            ),
            (
                vec![(1, Dispatched), (1, Started), (1, Started), (1, Succeeded)],
                "job 1: `started` comes 2 times",
            ),
            (
                vec![(1, Dispatched), (1, report()), (1, Started), (1, Succeeded)],
                "job 1: progress before `started`",
            ),
            (
                vec![(1, Dispatched), (1, report()), (1, Succeeded)],
                "job 1: progress before `started`",
            ),
        ];
        for (events, fault) in cases {
            assert_eq!(faults(&events), [fault]);
        }
    }

    #[test]
    fn an_unended_job_has_no_terminal() {
        assert_eq!(
            faults(&[(1, Dispatched), (1, Succeeded), (7, Dispatched)]),
            [
                "job 7: 0 terminal events instead of one",
                "job 7: the last event is not terminal",
            ],
        );
    }

    #[test]
    fn gaps_and_disorder_in_the_numbers_are_found() {
        let seqs = |seqs: [u64; 3]| {
            let kinds = [Dispatched, Started, Succeeded];
            let lines = seqs
                .iter()
                .zip(&kinds)
                .map(|(seq, kind)| line(1, *seq, kind));
            Stream(lines.collect()).faults()
        };
        assert!(seqs([0, 1, 2]).is_empty());
        assert_eq!(
            seqs([1, 2, 3]),
            ["job 1: the sequence numbers have #1 where #0 belongs"]
        );
        assert_eq!(
            seqs([0, 2, 3]),
            ["job 1: the sequence numbers have #2 where #1 belongs"]
        );
        assert_eq!(
            seqs([0, 2, 1]),
            ["job 1: the sequence numbers have #2 where #1 belongs"]
        );
    }

    #[test]
    fn a_stream_prints_one_event_a_line() {
        let cancelled = cancelled();
        let step = StepInfo::new("save", 2, Some(3));
        let stream = Stream(vec![
            line(3, 0, &Dispatched),
            Line {
                parent: JobId::from_u64(2),
                step: Some(&step),
                ..line(3, 1, &cancelled)
            },
        ]);
        assert_eq!(
            stream.to_string(),
            "recorded: 2 events\n  \
             job 3 \"import\"  #0  +0ns      attempt 1  dispatched\n  \
             job 3 \"import\" (of job 2)  #1  +1s       attempt 1  cancelled  { reason: Requested, dropped: true }  in step 2 of 3 \"save\"",
        );
    }
}
