//! latency.svg: percentiles of delivery by phase on a logarithmic scale. time-to-last.svg: how long
//! each update of a broadcast took to reach the last subscriber.

use super::frame::{bar_key, framed, legend};
use super::{Area, COLOURS, FONT, LABEL, SIZE, name_phases, time_label, told};
use plotters::prelude::*;
use serde_json::Value;

/// Keys of the summary, and what people call them.
const PERCENTILES: [(&str, &str); 5] = [
    ("p50", "p50"),
    ("p90", "p90"),
    ("p99", "p99"),
    ("p99_9", "p99.9"),
    ("max", "max"),
];

pub(super) fn draw(area: &Area<'_>, phases: &[Value]) -> anyhow::Result<bool> {
    let measured = phases
        .iter()
        .filter(|phase| phase["latency_us"]["delivery"].is_object());
    let (names, deliveries): (Vec<String>, Vec<&Value>) = measured
        .map(|phase| {
            let name = phase["name"].as_str().unwrap_or_default().to_owned();
            (name, &phase["latency_us"]["delivery"])
        })
        .unzip();
    if names.is_empty() {
        return Ok(false);
    }
    let at = |delivery: &Value, key: &str| delivery[key].as_f64().unwrap_or(0.0).max(1.0);
    let least = deliveries.iter().map(|delivery| at(delivery, "p50"));
    let most = deliveries.iter().map(|delivery| at(delivery, "max"));
    let floor = 10_f64.powf(least.fold(f64::MAX, f64::min).log10().floor());
    let ceiling = 10_f64.powf(most.fold(floor * 10.0, f64::max).log10().ceil());
    let end = names.len() as f64 * 1.15;
    let mut chart = framed(area, "Latency of delivery by phase (logarithmic)")
        .build_cartesian_2d(0.0..end, (floor..ceiling).log_scale())
        .map_err(told)?;
    chart
        .configure_mesh()
        .label_style((FONT, LABEL))
        .axis_desc_style((FONT, LABEL))
        .disable_x_mesh()
        .x_labels(0)
        .y_desc("intended time of publication to arrival")
        .y_label_formatter(&time_label)
        .draw()
        .map_err(told)?;
    let width = 0.8 / PERCENTILES.len() as f64;
    for (place, (key, label)) in PERCENTILES.into_iter().enumerate() {
        let bars = deliveries.iter().enumerate().map(|(index, delivery)| {
            let left = index as f64 + 0.1 + place as f64 * width;
            let corners = [(left, floor), (left + width * 0.9, at(delivery, key))];
            Rectangle::new(corners, COLOURS[place].filled())
        });
        chart
            .draw_series(bars)
            .map_err(told)?
            .label(label)
            .legend(bar_key(COLOURS[place]));
    }
    legend(&mut chart, SeriesLabelPosition::UpperRight)?;
    let pixels = chart.plotting_area().get_pixel_range().0;
    name_phases(area, &names, end, pixels, SIZE.1 as i32 - 52)?;
    Ok(true)
}

pub(super) fn draw_times_to_last(area: &Area<'_>, phases: &[Value]) -> anyhow::Result<bool> {
    let series: Vec<(&str, Vec<f64>)> = phases
        .iter()
        .filter_map(|phase| {
            let times = phase["times_to_last_us"].as_array()?;
            let times: Vec<f64> = times.iter().filter_map(Value::as_f64).collect();
            (!times.is_empty()).then_some((phase["name"].as_str()?, times))
        })
        .collect();
    let Some(longest) = series.iter().map(|(_, times)| times.len()).max() else {
        return Ok(false);
    };
    let all = series.iter().flat_map(|(_, times)| times).copied();
    let most = all.fold(1.0, f64::max) * 1.1;
    let mut chart = framed(area, "Time until an update has reached the last subscriber")
        .build_cartesian_2d(0.5..longest as f64 * 1.2 + 0.5, 0.0..most)
        .map_err(told)?;
    chart
        .configure_mesh()
        .label_style((FONT, LABEL))
        .axis_desc_style((FONT, LABEL))
        .disable_x_mesh()
        .x_desc("update")
        .x_label_formatter(&|number| format!("{number:.0}"))
        .y_desc("time to the last subscriber")
        .y_label_formatter(&time_label)
        .draw()
        .map_err(told)?;
    let width = 0.8 / series.len() as f64;
    for (place, (name, times)) in series.iter().enumerate() {
        let colour = COLOURS[place % COLOURS.len()];
        let bars = times.iter().enumerate().map(|(index, us)| {
            let left = index as f64 + 0.6 + place as f64 * width;
            Rectangle::new([(left, 0.0), (left + width * 0.95, *us)], colour.filled())
        });
        chart
            .draw_series(bars)
            .map_err(told)?
            .label(*name)
            .legend(bar_key(colour));
    }
    legend(&mut chart, SeriesLabelPosition::UpperRight)?;
    Ok(true)
}
