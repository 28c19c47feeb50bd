//! curve.svg: connections held and the server's memory against time, and the rate of handshakes
//! against connections held.

use super::frame::{framed, legend, line_key};
use super::{Area, COLOURS, FONT, LABEL, bytes_label, count_label, told};
use anyhow::Context as _;
use plotters::prelude::*;
use std::path::Path;

/// A line of `curve.csv`.
struct Point {
    t_s: f64,
    open: f64,
    per_s: f64,
    rss_bytes: f64,
}

pub(super) fn draw(area: &Area<'_>, path: &Path) -> anyhow::Result<bool> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let points: Vec<Point> = text.lines().skip(1).filter_map(point).collect();
    if points.len() < 2 {
        return Ok(false);
    }
    let (upper, lower) = area.split_vertically(540);
    held(&upper, &points)?;
    rate(&lower, &points)?;
    Ok(true)
}

fn point(line: &str) -> Option<Point> {
    let mut numbers = line.split(',').map(|cell| cell.parse::<f64>().ok());
    let mut next = || numbers.next().flatten();
    Some(Point {
        t_s: next()? / 1000.0,
        open: next()?,
        per_s: next()?,
        rss_bytes: next()?,
    })
}

/// The end of an axis for these values.
fn top(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(1.0, f64::max) * 1.05
}

fn held(area: &Area<'_>, points: &[Point]) -> anyhow::Result<()> {
    let end = points.iter().map(|point| point.t_s).fold(0.1, f64::max);
    let open = top(points.iter().map(|point| point.open));
    let rss = top(points.iter().map(|point| point.rss_bytes));
    let mut chart = framed(area, "Connections held and memory of the server over time")
        .right_y_label_area_size(90)
        .build_cartesian_2d(0.0..end, 0.0..open)
        .map_err(told)?
        .set_secondary_coord(0.0..end, 0.0..rss);
    chart
        .configure_mesh()
        .label_style((FONT, LABEL))
        .axis_desc_style((FONT, LABEL))
        .x_desc("time since the scenario began, s")
        .y_desc("connections held")
        .y_label_formatter(&count_label)
        .draw()
        .map_err(told)?;
    chart
        .configure_secondary_axes()
        .label_style((FONT, LABEL))
        .axis_desc_style((FONT, LABEL))
        .y_desc("resident memory of the server")
        .y_label_formatter(&bytes_label)
        .draw()
        .map_err(told)?;
    let open = points.iter().map(|point| (point.t_s, point.open));
    chart
        .draw_series(LineSeries::new(open, COLOURS[0].stroke_width(2)))
        .map_err(told)?
        .label("connections held")
        .legend(line_key(COLOURS[0]));
    let rss = points.iter().map(|point| (point.t_s, point.rss_bytes));
    chart
        .draw_secondary_series(LineSeries::new(rss, COLOURS[1].stroke_width(2)))
        .map_err(told)?
        .label("server memory (right)")
        .legend(line_key(COLOURS[1]));
    legend(&mut chart, SeriesLabelPosition::LowerRight)
}

/// Up to where the population was complete for the first time.
fn rate(area: &Area<'_>, points: &[Point]) -> anyhow::Result<()> {
    let most = points.iter().map(|point| point.open).fold(1.0, f64::max);
    let full = points.iter().position(|point| point.open >= most);
    let rising = &points[..full.map_or(points.len(), |at| at + 1)];
    let per_s = top(rising.iter().map(|point| point.per_s));
    let mut chart = framed(area, "Rate of handshakes against connections held")
        .right_y_label_area_size(90)
        .build_cartesian_2d(0.0..most, 0.0..per_s)
        .map_err(told)?;
    chart
        .configure_mesh()
        .label_style((FONT, LABEL))
        .axis_desc_style((FONT, LABEL))
        .x_desc("connections held")
        .y_desc("handshakes a second")
        .x_label_formatter(&count_label)
        .y_label_formatter(&count_label)
        .draw()
        .map_err(told)?;
    let line = rising.iter().skip(1).map(|point| (point.open, point.per_s));
    chart
        .draw_series(LineSeries::new(line, COLOURS[0].stroke_width(2)))
        .map_err(told)?;
    Ok(())
}
