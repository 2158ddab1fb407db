//! A line plot as SVG: axes, a grid, up to three series, nothing that needs a library.

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 34.0;
const COLOURS: [&str; 3] = ["#1f6fb2", "#c2410c", "#4d7c0f"];
/// More points than this are thinned out.
const POINTS: usize = 1_500;

/// What lies along the horizontal axis.
#[derive(Clone, Copy, Debug)]
pub enum Across {
    /// So many of something, from none on.
    Linear(&'static str),
    /// Powers of ten of something.
    Powers(&'static str),
}

/// A plot of one or more values over another.
#[derive(Clone, Debug)]
pub struct Plot {
    /// Stands above it.
    pub title: String,
    /// What lies along the horizontal axis.
    pub across: Across,
    /// Of the values.
    pub unit: &'static str,
    /// Each with its name; the fourth and further ones are left out.
    pub series: Vec<(&'static str, Vec<(f64, f64)>)>,
}

/// Where values are on the canvas.
#[derive(Clone, Copy, Debug)]
struct Frame {
    across: Across,
    x_min: f64,
    x_max: f64,
    y_max: f64,
}

impl Frame {
    fn x(self, value: f64) -> f64 {
        let share = match self.across {
            Across::Linear(_) => value / self.x_max,
            Across::Powers(_) => {
                let (least, most) = (self.x_min.log10(), self.x_max.log10());
                (value.log10() - least) / (most - least).max(1e-9)
            }
        };
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    /// Where the axis has its figures.
    fn marks(self) -> Vec<f64> {
        match self.across {
            Across::Linear(_) => (0..=4)
                .map(|step| self.x_max * f64::from(step) / 4.0)
                .collect(),
            Across::Powers(_) => (0..=15)
                .map(|power| 10_f64.powi(power))
                .filter(|mark| (self.x_min..=self.x_max).contains(mark))
                .collect(),
        }
    }

    fn y(self, value: f64) -> f64 {
        HEIGHT - BOTTOM - value / self.y_max * (HEIGHT - TOP - BOTTOM)
    }

    fn grid(self) -> String {
        let mut svg = String::new();
        for step in 0..=4 {
            let share = f64::from(step) / 4.0;
            let y = self.y(self.y_max * share);
            svg += &format!(
                "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\n",
                WIDTH - RIGHT
            );
            let text = figure(self.y_max * share);
            svg += &format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>\n",
                LEFT - 6.0,
                y + 4.0
            );
        }
        for mark in self.marks() {
            let (text, x, below) = (figure(mark), self.x(mark), HEIGHT - BOTTOM + 15.0);
            // The last one would be cut at the edge.
            let anchor = if x + 20.0 > WIDTH { "end" } else { "middle" };
            svg += &format!(
                "<text x=\"{x:.1}\" y=\"{below:.1}\" text-anchor=\"{anchor}\">{text}</text>\n"
            );
        }
        svg
    }

    fn line(self, points: &[(f64, f64)], colour: &str) -> String {
        let every = points.len().div_ceil(POINTS).max(1);
        let points: Vec<String> = points
            .iter()
            .step_by(every)
            .map(|(x, y)| format!("{:.1},{:.1}", self.x(*x), self.y(*y)))
            .collect();
        let points = points.join(" ");
        format!("<polyline fill=\"none\" stroke=\"{colour}\" points=\"{points}\"/>\n")
    }
}

impl Plot {
    /// The plot as a file of its own.
    #[must_use]
    pub fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|(_, points)| points);
        let (Across::Linear(what) | Across::Powers(what)) = self.across;
        let frame = Frame {
            across: self.across,
            x_min: points().map(|point| point.0).fold(f64::MAX, f64::min),
            x_max: points().map(|point| point.0).fold(0.0, f64::max).max(1e-9),
            y_max: round_up(points().map(|point| point.1).fold(0.0, f64::max)),
        };
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"16\" font-size=\"13\">{}</text>\n",
            self.title
        );
        svg += &frame.grid();
        svg += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{what}; {}</text>\n",
            WIDTH - RIGHT,
            HEIGHT - 5.0,
            self.unit
        );
        let mut at = WIDTH - RIGHT - 110.0;
        for (colour, (label, points)) in COLOURS.iter().zip(&self.series) {
            svg += &frame.line(points, colour);
            svg += &format!("<text x=\"{at:.1}\" y=\"16\" fill=\"{colour}\">{label}</text>\n");
            at -= 110.0;
        }
        svg + "</svg>\n"
    }
}

/// 1, 2 or 5 times a power of ten, not below `value`.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps
        .into_iter()
        .find(|step| *step >= value)
        .unwrap_or(value)
}

fn figure(value: f64) -> String {
    let text = if value >= 10.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    };
    match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_ten_are_as_far_apart_as_each_other() {
        let plot = Plot {
            title: "cost".to_owned(),
            across: Across::Powers("messages"),
            unit: "µs",
            series: vec![("job", vec![(1e3, 6.0), (1e5, 6.5), (1e7, 7.0)])],
        };
        let svg = plot.svg();
        let (_, points) = svg.split_once("points=\"").unwrap();
        let (points, _) = points.split_once('"').unwrap();
        let across: Vec<f64> = points
            .split(' ')
            .map(|point| point.split_once(',').unwrap().0.parse().unwrap())
            .collect();
        assert_eq!(across.len(), 3);
        let (first, second) = (across[1] - across[0], across[2] - across[1]);
        assert!(first > 100.0 && (first - second).abs() < 0.2, "{across:?}");
        assert!(svg.contains(">1000<") && svg.contains(">10000000<"));
    }

    #[test]
    fn axes_end_at_round_numbers() {
        assert!((round_up(3.2) - 5.0).abs() < 1e-9);
        assert!((round_up(1_001.0) - 2_000.0).abs() < 1e-9);
        assert_eq!(figure(2.50), "2.5");
        assert_eq!(figure(100.0), "100");
    }
}
