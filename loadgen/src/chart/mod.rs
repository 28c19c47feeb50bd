//! Charts of a scenario, of a comparison or of slow readers, as SVG, drawn from `summary.json` and `curve.csv` alone;
//! what has no figures says so in its picture. Called by the subcommand `chart`.

mod compare;
mod curve;
mod frame;
mod latency;
mod memory;
mod readers;

use anyhow::{Context as _, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use serde_json::Value;
use std::path::Path;

const SIZE: (u32, u32) = (960, 540);
const FONT: &str = "sans-serif";
/// Size of everything but titles.
const LABEL: u32 = 16;
/// Distinct for the colour-blind, legible on white (Okabe and Ito).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(120, 94, 60),
    RGBColor(110, 110, 110),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the charts of a folder into it: four of a scenario, two of a comparison, three of slow
/// readers.
pub fn draw(dir: &Path) -> anyhow::Result<()> {
    let path = dir.join("summary.json");
    let read = || -> anyhow::Result<Value> { Ok(serde_json::from_slice(&std::fs::read(&path)?)?) };
    let summary = read().with_context(|| path.display().to_string())?;
    if summary["loads"].is_array() {
        return compare::draw(dir, &summary);
    }
    let phases = summary["phases"].as_array().cloned().unwrap_or_default();
    if summary["kind"] == "readers" {
        return draw_readers(dir, &phases);
    }
    picture(&dir.join("curve.svg"), (SIZE.0, SIZE.1 * 2), |area| {
        curve::draw(area, &dir.join("curve.csv"))
    })?;
    picture(&dir.join("latency.svg"), SIZE, |area| {
        latency::draw(area, &phases)
    })?;
    picture(&dir.join("time-to-last.svg"), SIZE, |area| {
        latency::draw_times_to_last(area, &phases)
    })?;
    picture(&dir.join("memory.svg"), SIZE, |area| {
        memory::draw(area, &phases)
    })
}

/// What slow readers cost: the latency of those that read, whose memory, and the memory over time.
fn draw_readers(dir: &Path, phases: &[Value]) -> anyhow::Result<()> {
    picture(&dir.join("latency.svg"), SIZE, |area| {
        latency::draw(area, phases)
    })?;
    picture(&dir.join("memory.svg"), SIZE, |area| {
        memory::draw(area, phases)
    })?;
    picture(&dir.join("waiting.svg"), SIZE, |area| {
        readers::draw(area, phases)
    })
}

/// One file on a white ground. `draw` returns whether it found anything to draw.
fn picture(
    path: &Path,
    size: (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let area = SVGBackend::new(path, size).into_drawing_area();
    let drawn = || -> anyhow::Result<()> {
        area.fill(&WHITE).map_err(told)?;
        if !draw(&area)? {
            let style = (FONT, 20).into_font();
            area.draw_text("no such phase or load in this run", &style.into(), (40, 40))
                .map_err(told)?;
        }
        area.present().map_err(told)
    };
    drawn().with_context(|| path.display().to_string())
}

/// The library's errors borrow from the drawing.
fn told(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{error}")
}

/// Bytes as an axis tells them.
fn bytes_label(bytes: &f64) -> String {
    match *bytes {
        ..1e3 => format!("{bytes:.0} B"),
        ..1e6 => format!("{:.1} kB", bytes / 1e3),
        ..1e9 => format!("{:.0} MB", bytes / 1e6),
        _ => format!("{:.1} GB", bytes / 1e9),
    }
}

/// Counts as an axis tells them.
fn count_label(count: &f64) -> String {
    match *count {
        ..1e4 => format!("{count:.0}"),
        ..1e6 => format!("{:.0} k", count / 1e3),
        _ => format!("{:.2} M", count / 1e6),
    }
}

/// Microseconds as an axis tells them.
fn time_label(us: &f64) -> String {
    match *us {
        ..1e3 => format!("{us:.0} µs"),
        ..1e6 => format!("{:.0} ms", us / 1e3),
        _ => format!("{:.1} s", us / 1e6),
    }
}

/// Writes the phases' names below their places: the k-th is `k..k + 1` of an axis that ends at
/// `end` and whose pixels are `left..right`.
fn name_phases(
    area: &Area<'_>,
    names: &[String],
    end: f64,
    pixels: std::ops::Range<i32>,
    y: i32,
) -> anyhow::Result<()> {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    // As many letters as a place is wide, at some 7 pixels a letter.
    let place = f64::from(pixels.end - pixels.start) / end;
    let letters = (place / 7.0).max(3.0) as usize;
    let style = TextStyle::from((FONT, 15).into_font()).pos(Pos::new(HPos::Center, VPos::Top));
    for (index, name) in names.iter().enumerate() {
        let x = pixels.start + ((index as f64 + 0.5) * place) as i32;
        // Neighbours stand on two lines, so each may be twice as wide.
        let y = y + 16 * (index as i32 % 2);
        let shown: String = name.chars().take(letters * 2).collect();
        area.draw_text(&shown, &style, (x, y)).map_err(told)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_readers_get_three_charts() {
        let dir = std::env::temp_dir().join(format!("fanfare-readers-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let summary = r#"{"kind":"readers","phases":[
            {"name":"with","connections_open":10,"latency_us":{"delivery":
              {"p50":80,"p90":90,"p99":99,"p99_9":100,"max":5000,"count":9}}},
            {"name":"many","connections_open":10,"server_memory":
              {"accounted_bytes":50,"mark_bytes":50,"rss_bytes":900},"looks":
              [{"at_s":0.1,"rss_bytes":700,"marks":0},{"at_s":1.1,"rss_bytes":900,"marks":7}]}]}"#;
        std::fs::write(dir.join("summary.json"), summary).unwrap();
        draw(&dir).unwrap();
        for (name, word) in [
            ("latency.svg", "p99"),
            ("memory.svg", "marks"),
            ("waiting.svg", "many"),
        ] {
            let svg = std::fs::read_to_string(dir.join(name)).unwrap();
            let is_drawn = svg.contains(word) && !svg.contains("no such phase or load");
            assert!(is_drawn, "{name}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_folder_gets_its_four_charts() {
        let dir = std::env::temp_dir().join(format!("fanfare-chart-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let delivery = r#"{"p50":80,"p90":90,"p99":99,"p99_9":100,"max":5000,"count":9}"#;
        let memory = r#"{"accounted_bytes":50,"slab_bytes":50,"rss_bytes":900,
            "kernel_slab_bytes":{"TCP":7}}"#;
        let summary = format!(
            r#"{{"phases":[{{"name":"b","kind":"broadcast","connections_open":10,
            "times_to_last_us":[1000.5,2000],"latency_us":{{"delivery":{delivery}}},
            "server_memory":{memory}}}]}}"#
        );
        std::fs::write(dir.join("summary.json"), summary).unwrap();
        let curve = "t_ms,open,per_s,server_rss_bytes\n0,0,0,100\n250,5,20,200\n500,10,20,300\n";
        std::fs::write(dir.join("curve.csv"), curve).unwrap();
        draw(&dir).unwrap();
        for (name, word) in [
            ("curve.svg", "connections held"),
            ("latency.svg", "p99"),
            ("time-to-last.svg", "last subscriber"),
            ("memory.svg", "connections"),
        ] {
            let svg = std::fs::read_to_string(dir.join(name)).unwrap();
            let is_drawn = svg.contains(word) && !svg.contains("no such phase or load");
            assert!(is_drawn, "{name}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
