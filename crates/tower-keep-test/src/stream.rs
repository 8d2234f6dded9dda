//! Rules for event streams, and their printed form.

use std::{collections::BTreeMap, fmt, ops::Range, time::Duration};

use tower_keep::{
    Event, EventKind, JobId, StepInfo,
    log::{Level, level_of},
};

/// The parts of an event that rules and printing need.
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

/// The events of any number of jobs, in order of arrival.
#[derive(Debug)]
pub(crate) struct Stream<'a> {
    lines: Vec<Line<'a>>,
    /// Any event may be missing.
    filtered: bool,
}

/// The least severe level among the events; `None` if there are none. A level that passes one event
/// passes all events of the same severity.
fn seen(lines: &[Line<'_>]) -> Option<Level> {
    lines.iter().map(|line| level_of(line.kind)).max()
}

impl<'a> Stream<'a> {
    pub(crate) fn of(events: &'a [Event]) -> Self {
        Self {
            lines: events.iter().map(Line::from).collect(),
            filtered: false,
        }
    }

    pub(crate) fn behind_filter(self) -> Self {
        Self {
            filtered: true,
            ..self
        }
    }

    /// The broken rules, one sentence each.
    pub(crate) fn faults(&self) -> Vec<String> {
        if self.lines.is_empty() {
            return vec!["no event was recorded".to_owned()];
        }
        let jobs = self.jobs().into_iter();
        jobs.flat_map(|(job, lines)| self.faults_of(job, &lines))
            .collect()
    }

    /// The missing sequence numbers, in order of the jobs.
    pub(crate) fn gaps(&self) -> Vec<(JobId, Range<u64>)> {
        let jobs = self.jobs().into_iter();
        jobs.flat_map(|(job, lines)| {
            let gaps = self.gaps_of(&lines).into_iter();
            gaps.map(move |gap| (job, gap))
        })
        .collect()
    }

    fn jobs(&self) -> BTreeMap<JobId, Vec<Line<'a>>> {
        let mut jobs: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for line in &self.lines {
            jobs.entry(line.job).or_default().push(*line);
        }
        jobs
    }

    fn gaps_of(&self, lines: &[Line<'_>]) -> Vec<Range<u64>> {
        if self.filtered || seen(lines) < Some(Level::DEBUG) {
            return Vec::new();
        }
        let mut next = 0;
        let mut gaps = Vec::new();
        for line in lines {
            if line.seq > next {
                gaps.push(next..line.seq);
            }
            next = next.max(line.seq + 1);
        }
        gaps
    }

    fn faults_of(&self, job: JobId, lines: &[Line<'_>]) -> Vec<String> {
        // Whether the job's first and last event cannot have been filtered out.
        let shows_ends = !self.filtered && seen(lines) >= Some(Level::INFO);
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

        // Reports are of this job's own work, or of its leader's.
        let shows = |kind: &EventKind| {
            started(kind) || matches!(kind, EventKind::Duplicate { joined: true, .. })
        };

        let mut faults = Vec::new();
        let mut check = |holds: bool, fault: String| {
            if !holds {
                faults.push(format!("job {job}: {fault}"));
            }
        };
        check(
            place(&dispatched) == Some(0) || (!shows_ends && count(&dispatched) == 0),
            "the first event is not `dispatched`".to_owned(),
        );
        check(
            count(&dispatched) <= 1,
            format!("`dispatched` comes {} times", count(&dispatched)),
        );
        let ended = count(&EventKind::is_terminal) > 0;
        check(
            count(&EventKind::is_terminal) == 1 || (!shows_ends && !ended),
            format!(
                "{} terminal events instead of one",
                count(&EventKind::is_terminal)
            ),
        );
        check(
            lines.last().is_some_and(|line| line.kind.is_terminal()) || (!shows_ends && !ended),
            "the last event is not terminal".to_owned(),
        );
        check(
            count(&started) <= 1,
            format!("`started` comes {} times", count(&started)),
        );
        let progress = place(&progress).filter(|_| !self.filtered);
        if let Some(progress) = progress {
            check(
                place(&shows).is_some_and(|shows| shows < progress),
                "progress before `started`".to_owned(),
            );
        }
        // Of several disorders, the first is enough.
        let ordered = (lines.iter().zip(&lines[1..])).find(|(one, next)| one.seq >= next.seq);
        let gap = self.gaps_of(lines).into_iter().next();
        if let Some(gap) = gap {
            check(
                false,
                format!(
                    "the sequence numbers have #{} where #{} belongs",
                    gap.end, gap.start
                ),
            );
        } else if let Some((one, next)) = ordered {
            check(
                false,
                format!("the sequence numbers have #{} after #{}", next.seq, one.seq),
            );
        }
        faults
    }
}

impl fmt::Display for Stream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "recorded: {} events", self.lines.len())?;
        for line in &self.lines {
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
        // Print the kind only if it has fields.
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

    /// The faults of these events of jobs. Sequence numbers count per job, unless one is given.
    fn faults(events: &[(u64, EventKind)]) -> Vec<String> {
        let mut next = std::collections::HashMap::new();
        let lines = events.iter().map(|(job, kind)| {
            let seq = next.entry(*job).or_insert(0);
            *seq += 1;
            line(*job, *seq - 1, kind)
        });
        stream(lines.collect()).faults()
    }

    fn stream(lines: Vec<Line<'_>>) -> Stream<'_> {
        Stream {
            lines,
            filtered: false,
        }
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

    fn duplicate(joined: bool) -> EventKind {
        EventKind::Duplicate { of: None, joined }
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
            (
                vec![
                    (1, Dispatched),
                    (1, duplicate(false)),
                    (1, report()),
                    (1, Succeeded),
                ],
                "job 1: progress before `started`",
            ),
        ];
        for (events, fault) in cases {
            assert_eq!(faults(&events), [fault]);
        }
    }

    #[test]
    fn a_job_that_joined_another_shows_its_reports() {
        let report = Progress(Report::new(0.5));
        let events = [
            (1, Dispatched),
            (1, duplicate(true)),
            (1, report),
            (1, Succeeded),
        ];
        assert_eq!(faults(&events), [""; 0]);
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
            stream(lines.collect()).faults()
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
        let stream = stream(vec![
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
