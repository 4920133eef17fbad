//! Each run as a dot, on a logarithmic scale of time.

use std::fmt::Write;

use crate::{
    figures::{Figures, Round, percentile},
    options::{Job, Promotion},
};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 250.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 50.0;
const ROW: f64 = 26.0;
/// The scale, in milliseconds.
const FROM: f64 = 10.0;
const TO: f64 = 30_000.0;
const MARKS: [(f64, &str); 8] = [
    (10.0, "10 ms"),
    (30.0, "30"),
    (100.0, "100"),
    (300.0, "300"),
    (1_000.0, "1 s"),
    (3_000.0, "3 s"),
    (10_000.0, "10 s"),
    (30_000.0, "30 s"),
];

fn x(ms: f64) -> f64 {
    let part = (ms.clamp(FROM, TO) / FROM).ln() / (TO / FROM).ln();
    LEFT + part * (WIDTH - LEFT - RIGHT)
}

/// What the dots show: when the new signer can sign.
fn value(round: &Round) -> Option<f64> {
    match round.job.promotion {
        Promotion::HotSwap => round.new_has_key_ms,
        Promotion::Restart => round.new_signs_ms,
    }
}

pub fn svg(figures: &Figures) -> String {
    let jobs: Vec<Job> = Promotion::ALL
        .into_iter()
        .flat_map(|promotion| {
            figures.jobs().into_iter().filter(move |job| {
                job.promotion == promotion
                    && job.scenario.moves_the_key()
                    && job.has_default_lease()
            })
        })
        .collect();
    let bottom = TOP + jobs.len() as f64 * ROW;
    let height = bottom + 30.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"14\">From the fault until the new signer can sign; \
         the bar is the median</text>\n"
    );
    // Writing to a String cannot fail.
    for (ms, label) in MARKS {
        let x = x(ms);
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{label}</text>",
            bottom + 18.0
        );
    }
    for (number, job) in jobs.iter().enumerate() {
        let middle = TOP + (number as f64 + 0.5) * ROW;
        let colour = match job.promotion {
            Promotion::HotSwap => "#0b6e99",
            Promotion::Restart => "#b35900",
        };
        let _ = writeln!(
            out,
            "<text x=\"12\" y=\"{:.1}\" fill=\"{colour}\">{}, {}</text>",
            middle + 4.0,
            job.scenario.title(),
            job.promotion.name()
        );
        let values: Vec<_> = figures.of(*job).into_iter().filter_map(value).collect();
        for ms in &values {
            let _ = writeln!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"4\" fill=\"{colour}\" \
                 fill-opacity=\"0.4\"/>",
                x(*ms)
            );
        }
        if let Some(median) = percentile(&values, 0.5) {
            let x = x(median);
            let (from, to) = (middle - 9.0, middle + 9.0);
            let _ = writeln!(
                out,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from:.1}\" y2=\"{to:.1}\" \
                 stroke=\"{colour}\" stroke-width=\"2\"/>"
            );
        }
    }
    out + "</svg>\n"
}
