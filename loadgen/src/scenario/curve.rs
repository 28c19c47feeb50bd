//! How the population grew: a point each 250 ms over the whole scenario, and the rate of handshakes
//! by tenth of the population.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

/// Tenths that are looked at.
const PARTS: u64 = 10;

/// One moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Since the scenario began.
    pub t_ms: f64,
    /// Handshakes completed so far.
    pub opened: u64,
    /// Connections open.
    pub open: u64,
    /// Resident memory of the server; 0 if it is not watched.
    pub server_rss_bytes: u64,
}

/// Handshakes a second between two points.
fn per_s(before: &Point, after: &Point) -> f64 {
    let ms = after.t_ms - before.t_ms;
    let opened = after.opened.saturating_sub(before.opened) as f64;
    if ms > 0.0 { opened * 1000.0 / ms } else { 0.0 }
}

/// Handshakes a second while each tenth of `population` was opened, as far as they got. Between two
/// points the curve is taken to be straight.
pub fn per_s_by_tenth(points: &[Point], population: u64) -> Vec<f64> {
    let Some(first) = points.first() else {
        return Vec::new();
    };
    let reached_ms = |number: f64| {
        let pairs = points.windows(2).map(|pair| (&pair[0], &pair[1]));
        let mut crossing =
            pairs.filter(|(_, after)| after.opened as f64 - first.opened as f64 >= number);
        let (before, after) = crossing.next()?;
        let into = number - (before.opened - first.opened) as f64;
        let rate = per_s(before, after);
        Some(
            before.t_ms
                + if rate > 0.0 {
                    into * 1000.0 / rate
                } else {
                    0.0
                },
        )
    };
    let times = (0..=PARTS).map_while(|part| reached_ms((population * part) as f64 / PARTS as f64));
    let times: Vec<f64> = times.collect();
    let tenth = population as f64 / PARTS as f64;
    let rate = |pair: &[f64]| tenth * 1000.0 / (pair[1] - pair[0]).max(0.001);
    times.windows(2).map(rate).collect()
}

/// Writes `t_ms,open,per_s,server_rss_bytes`.
pub fn write(points: &[Point], path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "t_ms,open,per_s,server_rss_bytes")?;
    let mut before = Point::default();
    for point in points {
        let rate = per_s(&before, point);
        let Point {
            t_ms,
            open,
            server_rss_bytes,
            ..
        } = point;
        writeln!(file, "{t_ms:.0},{open},{rate:.0},{server_rss_bytes}")?;
        before = *point;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(t_ms: f64, opened: u64) -> Point {
        Point {
            t_ms,
            opened,
            open: opened,
            server_rss_bytes: 0,
        }
    }

    #[test]
    fn a_sag_is_seen_in_the_tenths() {
        // 500 in the first second, 500 in the next two.
        let points = [point(0.0, 0), point(1000.0, 500), point(3000.0, 1000)];
        let rates = per_s_by_tenth(&points, 1000);
        assert_eq!(rates.len(), 10);
        assert!(
            rates[..5].iter().all(|rate| (rate - 500.0).abs() < 0.1),
            "{rates:?}"
        );
        assert!(
            rates[5..].iter().all(|rate| (rate - 250.0).abs() < 0.1),
            "{rates:?}"
        );
    }

    #[test]
    fn tenths_that_were_not_reached_are_left_out() {
        assert_eq!(per_s_by_tenth(&[], 100), Vec::<f64>::new());
        let points = [point(0.0, 0), point(100.0, 35), point(200.0, 35)];
        assert_eq!(per_s_by_tenth(&points, 100).len(), 3);
    }

    #[test]
    fn the_count_begins_with_the_first_point() {
        let points = [point(500.0, 100), point(1500.0, 200)];
        let rates = per_s_by_tenth(&points, 100);
        assert!(
            rates.iter().all(|rate| (rate - 100.0).abs() < 0.1),
            "{rates:?}"
        );
    }
}
