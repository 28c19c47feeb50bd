//! waiting.svg: the server's resident memory over time in the measurements in which updates waited
//! without their payload.

use super::frame::{framed, legend, line_key};
use super::{Area, COLOURS, FONT, LABEL, bytes_label, told};
use plotters::prelude::*;
use serde_json::Value;

/// Name of the measurement, and time in seconds and bytes of each look.
type Line = (String, Vec<(f64, f64)>);

pub(super) fn draw(area: &Area<'_>, phases: &[Value]) -> anyhow::Result<bool> {
    let lines: Vec<Line> = phases.iter().filter_map(line).collect();
    if lines.is_empty() {
        return Ok(false);
    }
    let points = || lines.iter().flat_map(|(_, points)| points);
    let end = points().map(|point| point.0).fold(0.1, f64::max);
    let most = points().map(|point| point.1).fold(1.0, f64::max) * 1.1;
    let mut chart = framed(area, "Memory of the server while clients stall")
        .build_cartesian_2d(0.0..end, 0.0..most)
        .map_err(told)?;
    chart
        .configure_mesh()
        .label_style((FONT, LABEL))
        .axis_desc_style((FONT, LABEL))
        .x_desc("time since the measurement began, s")
        .y_desc("resident memory of the server")
        .y_label_formatter(&bytes_label)
        .draw()
        .map_err(told)?;
    for (place, (name, points)) in lines.iter().enumerate() {
        let colour = COLOURS[place % COLOURS.len()];
        chart
            .draw_series(LineSeries::new(
                points.iter().copied(),
                colour.stroke_width(2),
            ))
            .map_err(told)?
            .label(name.as_str())
            .legend(line_key(colour));
    }
    legend(&mut chart, SeriesLabelPosition::LowerRight)?;
    Ok(true)
}

fn line(phase: &Value) -> Option<Line> {
    let looks = phase["looks"].as_array()?;
    let waited = looks.iter().any(|look| look["marks"].as_u64() > Some(0));
    let points = looks
        .iter()
        .filter_map(|look| Some((look["at_s"].as_f64()?, look["rss_bytes"].as_f64()?)));
    waited.then(|| Some((phase["name"].as_str()?.to_owned(), points.collect())))?
}
