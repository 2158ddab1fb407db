//! The same as a plot: one bar for each peer, on a logarithmic scale, since the fastest and the slowest are far apart.

use std::path::Path;

use mq_benches::report::grouped;

use crate::race::{Load, Result};
use crate::table::{MQ, is_durable, sorted};

/// Pixels.
const WIDTH: f64 = 760.0;
const NAMES: f64 = 190.0;
const BARS: f64 = 440.0;
const ROW: f64 = 26.0;
const TOP: f64 = 40.0;
/// Where the scale begins: ten in a second.
const SMALLEST: f64 = 10.0;

/// Name of the file of a load's plot.
#[must_use]
pub fn file_name(load: Load) -> String {
    match load {
        Load::Blocking => "enqueue-blocking.svg".to_owned(),
        Load::Enqueue(callers) => format!("enqueue-{callers}.svg"),
        Load::Jobs(callers) => format!("jobs-{callers}.svg"),
    }
}

/// Writes the plot of each load into a folder.
///
/// # Errors
/// What the file system says.
pub fn write_all(results: &[Result], folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    for load in Load::ALL {
        let rows = sorted(results, load);
        if !rows.is_empty() {
            std::fs::write(folder.join(file_name(load)), svg(load, &rows))?;
        }
    }
    Ok(())
}

fn svg(load: Load, rows: &[&Result]) -> String {
    let bars: Vec<(&Result, f64)> = rows
        .iter()
        .filter_map(|row| Some((*row, row.measured()?.rate)))
        .collect();
    let most = bars.iter().map(|(_, rate)| *rate).fold(SMALLEST, f64::max);
    #[expect(clippy::cast_precision_loss, reason = "pixels")]
    let height = TOP + ROW * bars.len() as f64 + 30.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"15\" font-weight=\"bold\">{}, per second (logarithmic)</text>\n",
        escaped(&load.name())
    );
    for (place, (row, rate)) in bars.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "pixels")]
        let y = TOP + ROW * place as f64;
        let width = BARS * (rate / SMALLEST).max(1.0).log10() / (most / SMALLEST).log10().max(0.1);
        let colour = match (row.peer == MQ, is_durable(row)) {
            (true, _) => "#c2410c",
            (false, true) => "#475569",
            (false, false) => "#cbd5e1",
        };
        out.push_str(&format!("<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{NAMES:.0}\" y=\"{:.0}\" width=\"{width:.0}\" height=\"{:.0}\" fill=\"{colour}\"/>\n\
             <text x=\"{:.0}\" y=\"{:.0}\">{}</text>\n",
            NAMES - 8.0,
            y + 17.0,
            escaped(&row.peer),
            y + 3.0,
            ROW - 6.0,
            NAMES + width + 6.0,
            y + 17.0,
            grouped(*rate)
        ));
    }
    out.push_str(&format!("<text x=\"10\" y=\"{:.0}\" fill=\"#475569\">dark: every answer is synced; light: it is not</text>\n</svg>\n",
        height - 10.0
    ));
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
