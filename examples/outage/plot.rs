//! The picture.

use std::fmt::Write;

use crate::{
    account::{Account, Sums},
    day::{BROWN_OUT, Day, OUTAGE, Phase, clock},
    policies::Policy,
};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 936.0;

/// Where the panels begin and end.
const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 24.0;

/// How far zero lies above the axis of the time, so that a curve at zero is seen.
const FLOOR: f64 = 8.0;

/// What the two upper panels show.
const AROUND: Phase = Phase::minutes(-10, 50);

/// The second lies on the first.
const SHADES: [(Phase, &str, &str); 2] = [
    (BROWN_OUT, "brown-out", "#fdf0d5"),
    (OUTAGE, "down", "#f5cf94"),
];

/// One curve for each policy, in its own measure.
struct Panel {
    title: &'static str,
    top: f64,
    height: f64,
    phase: Phase,
    /// How many seconds make a point of a curve.
    span: usize,
    /// How many seconds are between two marks of the time.
    tick: i64,
    measure: fn(Sums) -> u64,
}

/// The picture as SVG.
pub(crate) fn draw(day: Day, accounts: &[Account]) -> String {
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="13" fill="#333">
<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>
<text x="{LEFT}" y="34" font-size="20" font-weight="bold">Ten minutes of brown-out, and what the clients make of it</text>
<text x="{LEFT}" y="56">{} clients of one backend, seed {}. It browns out from {} to {} and is down from {} to {}.</text>
"##,
        day.clients,
        day.seed,
        clock(BROWN_OUT.from),
        clock(BROWN_OUT.to),
        clock(OUTAGE.from),
        clock(OUTAGE.to),
    );
    legend(&mut svg, accounts);
    let panels = [
        Panel {
            title: "Goodput: calls answered in time, per second",
            top: 128.0,
            height: 220.0,
            phase: AROUND,
            span: 30,
            tick: 600,
            measure: |sums| sums.answered,
        },
        Panel {
            title: "Load: attempts that reach the backend, per second",
            top: 412.0,
            height: 220.0,
            phase: AROUND,
            span: 30,
            tick: 600,
            measure: |sums| sums.attempts,
        },
        Panel {
            title: "Goodput of the whole day: calls answered in time, per second",
            top: 696.0,
            height: 180.0,
            phase: day.whole(),
            span: 300,
            tick: i64::from(day.hours.div_ceil(12)) * 3600,
            measure: |sums| sums.answered,
        },
    ];
    for panel in panels {
        panel.draw(&mut svg, accounts);
    }
    let _ = write!(
        svg,
        "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">time of day</text>\n</svg>\n",
        (LEFT + RIGHT) / 2.0,
        HEIGHT - 18.0
    );
    svg
}

/// Told apart with any kind of colour vision, after Okabe and Ito; and by their dashes.
fn style(policy: Policy) -> &'static str {
    match policy {
        Policy::OneTry => r##"stroke="#777" stroke-width="1.6" stroke-dasharray="2 3""##,
        Policy::NaiveRetries => r##"stroke="#d55e00" stroke-width="1.8""##,
        Policy::Budget => r##"stroke="#0072b2" stroke-width="1.8" stroke-dasharray="7 3""##,
        Policy::Ours => r##"stroke="#009e73" stroke-width="2.4""##,
    }
}

fn legend(svg: &mut String, accounts: &[Account]) {
    for (number, account) in accounts.iter().enumerate() {
        let x = LEFT + 165.0 * number as f64;
        let _ = writeln!(
            svg,
            r#"<path d="M{x:.0} 79h32" {}/><text x="{:.0}" y="84">{}</text>"#,
            style(account.policy),
            x + 40.0,
            account.policy.name()
        );
    }
    for (number, (_, name, colour)) in SHADES.iter().enumerate() {
        let x = LEFT + 165.0 * accounts.len() as f64 + 25.0 + 110.0 * number as f64;
        let _ = writeln!(
            svg,
            r#"<rect x="{x:.0}" y="71" width="20" height="16" fill="{colour}"/><text x="{:.0}" y="84">{name}</text>"#,
            x + 27.0,
        );
    }
}

impl Panel {
    fn draw(&self, svg: &mut String, accounts: &[Account]) {
        let curves: Vec<(Policy, Vec<f64>)> = accounts
            .iter()
            .map(|account| (account.policy, self.rates(account)))
            .collect();
        let most = curves.iter().flat_map(|(_, rates)| rates.iter().copied());
        let (step, top_value) = scale(most.fold(0.0, f64::max));

        let _ = writeln!(
            svg,
            r#"<text x="{LEFT}" y="{:.0}" font-weight="bold">{}</text>"#,
            self.top - 12.0,
            self.title
        );
        for (phase, _, colour) in SHADES {
            let (from, to) = (self.x(phase.from as f64), self.x(phase.to as f64));
            let _ = writeln!(
                svg,
                r#"<rect x="{from:.1}" y="{}" width="{:.1}" height="{}" fill="{colour}"/>"#,
                self.top,
                to - from,
                self.height
            );
        }
        self.grid(svg, step, top_value);
        for (policy, rates) in &curves {
            let mut points = String::new();
            for (number, rate) in rates.iter().enumerate() {
                let middle = (number as f64 + 0.5) * self.span as f64;
                let _ = write!(
                    points,
                    "{:.1},{:.1} ",
                    self.x(self.phase.from as f64 + middle),
                    self.y(*rate, top_value)
                );
            }
            let _ = writeln!(
                svg,
                r#"<polyline points="{}" fill="none" stroke-linejoin="round" {}/>"#,
                points.trim_end(),
                style(*policy)
            );
        }
    }

    fn rates(&self, account: &Account) -> Vec<f64> {
        let spans = account.spans(self.phase, self.span);
        spans
            .map(|sums| (self.measure)(sums) as f64 / self.span as f64)
            .collect()
    }

    fn x(&self, since_noon: f64) -> f64 {
        let share = (since_noon - self.phase.from as f64) / self.phase.seconds() as f64;
        LEFT + (RIGHT - LEFT) * share
    }

    fn y(&self, value: f64, top_value: f64) -> f64 {
        self.top + (self.height - FLOOR) * (1.0 - value / top_value)
    }

    fn grid(&self, svg: &mut String, step: f64, top_value: f64) {
        let mut value = 0.0;
        while value <= top_value {
            let y = self.y(value, top_value);
            let _ = writeln!(
                svg,
                r##"<path d="M{LEFT} {y:.1}H{RIGHT}" stroke="#ddd"/><text x="{:.0}" y="{:.1}" text-anchor="end" font-size="12">{value}/s</text>"##,
                LEFT - 6.0,
                y + 4.0
            );
            value += step;
        }
        let bottom = self.top + self.height;
        let _ = writeln!(
            svg,
            r##"<path d="M{LEFT} {bottom}H{RIGHT}" stroke="#777"/>"##
        );
        let mut at = self.phase.from;
        while at <= self.phase.to {
            let x = self.x(at as f64);
            let _ = writeln!(
                svg,
                r##"<path d="M{x:.1} {bottom}v5" stroke="#777"/><text x="{x:.1}" y="{:.0}" text-anchor="middle" font-size="12">{}</text>"##,
                bottom + 19.0,
                clock(at)
            );
            at += self.tick;
        }
    }
}

/// A round step for up to six lines, and the value at the top.
fn scale(most: f64) -> (f64, f64) {
    let mut step = 1.0;
    // 1, 2, 5, 10, 20, 50 and so on.
    for factor in [2.0, 2.5, 2.0].into_iter().cycle() {
        if most <= step * 6.0 {
            break;
        }
        step *= factor;
    }
    (step, step * (most / step).ceil().max(1.0))
}
