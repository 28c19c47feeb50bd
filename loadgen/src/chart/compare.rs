//! cpu.svg and memory.svg of a comparison: a panel a load, a row a server, the best one on top. A dot
//! is the median and a line goes from the least to the most of all rounds. The axis is logarithmic,
//! because servers are more than ten times apart; so there are dots and no bars, whose length would
//! say nothing.

use super::{Area, COLOURS, FONT, LABEL, bytes_label, picture, told};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde_json::Value;
use std::path::Path;

const WIDTH: u32 = 1200;
const COLUMNS: usize = 2;
const ROW: u32 = 24;
const HEAD: u32 = 40;
const AXIS: u32 = 34;
/// Where the names end and the axis begins, and where it ends.
const LEFT: i32 = 210;
const RIGHT: i32 = 30;

/// What a picture is about.
struct Subject {
    file: &'static str,
    figure: &'static str,
    /// Kinds of loads that have the figure.
    kinds: &'static [&'static str],
    unit: &'static str,
    label: fn(&f64) -> String,
}

const SUBJECTS: [Subject; 2] = [
    Subject {
        file: "cpu.svg",
        figure: "server_cpu_s_per_million",
        kinds: &["updates", "echo", "rejoin"],
        unit: "s of server CPU a million",
        label: seconds_label,
    },
    Subject {
        file: "memory.svg",
        figure: "rss_per_connection_bytes",
        kinds: &["hold"],
        unit: "resident bytes of the server a connection",
        label: bytes_label,
    },
];

/// One load.
struct Panel {
    title: String,
    rows: Vec<Row>,
}

/// One server.
struct Row {
    name: String,
    title: String,
    median: f64,
    min: f64,
    max: f64,
    /// Something in it was lost, or it broke off.
    is_faulty: bool,
}

/// Draws the pictures of a folder from its summary.
pub(super) fn draw(dir: &Path, summary: &Value) -> anyhow::Result<()> {
    for subject in &SUBJECTS {
        let panels = panels(summary, subject);
        let rows = panels.iter().map(|panel| panel.rows.len() as u32);
        let height = HEAD + AXIS + ROW * rows.max().unwrap_or(1);
        let lines = panels.len().div_ceil(COLUMNS).max(1);
        let size = (WIDTH, height * lines as u32);
        picture(&dir.join(subject.file), size, |area| {
            let areas = area.split_evenly((lines, COLUMNS));
            for (panel, area) in panels.iter().zip(&areas) {
                draw_panel(area, panel, subject)?;
            }
            Ok(!panels.is_empty())
        })?;
    }
    Ok(())
}

fn panels(summary: &Value, subject: &Subject) -> Vec<Panel> {
    let loads = summary["loads"].as_array().into_iter().flatten();
    let with_figure = loads.filter(|load| {
        let kind = load["kind"].as_str().unwrap_or_default();
        subject.kinds.contains(&kind)
    });
    let panels = with_figure.map(|load| Panel {
        title: format!("{}: {}", text(&load["id"]), text(&load["title"])),
        rows: rows(load, &summary["rivals"], subject.figure),
    });
    panels.filter(|panel| !panel.rows.is_empty()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Servers that have the figure, the least first. What is not positive has no place on the axis.
fn rows(load: &Value, rivals: &Value, figure: &str) -> Vec<Row> {
    let results = load["results"].as_object().into_iter().flatten();
    let mut rows: Vec<Row> = results
        .filter_map(|(name, result)| {
            let figure = &result["figures"][figure];
            let value = |key: &str| figure[key].as_f64().filter(|value| *value > 0.0);
            let median = value("median")?;
            Some(Row {
                name: name.clone(),
                title: text(&rivals[name]["title"]).to_owned(),
                median,
                min: value("min").unwrap_or(median),
                max: value("max").unwrap_or(median),
                is_faulty: result["verified"] != true,
            })
        })
        .collect();
    rows.sort_by(|a, b| a.median.total_cmp(&b.median));
    rows
}

fn draw_panel(area: &Area<'_>, panel: &Panel, subject: &Subject) -> anyhow::Result<()> {
    let (width, _) = area.dim_in_pixel();
    let title = TextStyle::from((FONT, 17).into_font().style(FontStyle::Bold));
    area.draw_text(&panel.title, &title, (12, 12))
        .map_err(told)?;
    let least = panel
        .rows
        .iter()
        .map(|row| row.min)
        .fold(f64::MAX, f64::min);
    let most = panel.rows.iter().map(|row| row.max).fold(0.0, f64::max);
    let axis = Axis::new(least, most, LEFT, width as i32 - RIGHT);
    let bottom = (HEAD + ROW * panel.rows.len() as u32) as i32;
    draw_axis(area, &axis, bottom, subject)?;
    for (place, row) in panel.rows.iter().enumerate() {
        let y = (HEAD + ROW * place as u32 + ROW / 2) as i32;
        draw_row(area, &axis, row, y, subject)?;
    }
    Ok(())
}

fn draw_axis(area: &Area<'_>, axis: &Axis, bottom: i32, subject: &Subject) -> anyhow::Result<()> {
    let grid = RGBColor(222, 222, 222).stroke_width(1);
    let style = style(HPos::Center, VPos::Top, &BLACK);
    for tick in axis.ticks() {
        let x = axis.pixel(tick);
        area.draw(&PathElement::new([(x, HEAD as i32), (x, bottom)], grid))
            .map_err(told)?;
        area.draw_text(&(subject.label)(&tick), &style, (x, bottom + 2))
            .map_err(told)?;
    }
    let unit = style_of(HPos::Right, VPos::Top, &RGBColor(90, 90, 90), 13);
    area.draw_text(subject.unit, &unit, (axis.right, bottom + 18))
        .map_err(told)
}

fn draw_row(
    area: &Area<'_>,
    axis: &Axis,
    row: &Row,
    y: i32,
    subject: &Subject,
) -> anyhow::Result<()> {
    let colour = colour(&row.name);
    area.draw_text(
        &row.title,
        &style(HPos::Right, VPos::Center, &colour),
        (LEFT - 12, y),
    )
    .map_err(told)?;
    let ends = [(axis.pixel(row.min), y), (axis.pixel(row.max), y)];
    area.draw(&PathElement::new(ends, colour.stroke_width(3)))
        .map_err(told)?;
    let dot = (axis.pixel(row.median), y);
    // What is not verified has a hollow dot.
    let filling = if row.is_faulty { WHITE } else { colour };
    area.draw(&Circle::new(dot, 5, filling.filled()))
        .map_err(told)?;
    area.draw(&Circle::new(dot, 5, colour.stroke_width(2)))
        .map_err(told)?;
    // Beside the line, on the side where there is room.
    let is_right = ends[1].0 > (LEFT + axis.right) * 3 / 5;
    let (pos, x) = match is_right {
        true => (HPos::Right, ends[0].0 - 10),
        false => (HPos::Left, ends[1].0 + 10),
    };
    area.draw_text(
        &(subject.label)(&row.median),
        &style(pos, VPos::Center, &BLACK),
        (x, y),
    )
    .map_err(told)
}

fn colour(name: &str) -> RGBColor {
    match name {
        "floor" => COLOURS[7],
        name if name.starts_with("fanfare") => COLOURS[0],
        _ => COLOURS[1],
    }
}

fn style(across: HPos, along: VPos, colour: &RGBColor) -> TextStyle<'static> {
    style_of(across, along, colour, LABEL - 2)
}

fn style_of(across: HPos, along: VPos, colour: &RGBColor, size: u32) -> TextStyle<'static> {
    // A copy: a style that is given a colour may not outlive it.
    TextStyle {
        color: colour.to_backend_color(),
        ..TextStyle::from((FONT, size).into_font())
    }
    .pos(Pos::new(across, along))
}

/// A logarithmic axis across some pixels.
struct Axis {
    /// Decimal logarithms of both ends.
    least: f64,
    most: f64,
    left: i32,
    right: i32,
}

impl Axis {
    /// Wide enough for both, with room for the figures beside the dots.
    fn new(least: f64, most: f64, left: i32, right: i32) -> Axis {
        Axis {
            least: least.log10() - 0.25,
            most: most.log10() + 0.25,
            left,
            right,
        }
    }

    fn pixel(&self, value: f64) -> i32 {
        let place = (value.log10() - self.least) / (self.most - self.least);
        self.left + (place * f64::from(self.right - self.left)) as i32
    }

    /// 1, 2 and 5 in every decade; only 1 where there are many.
    fn ticks(&self) -> Vec<f64> {
        let digits: &[f64] = if self.most - self.least > 2.5 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let decades = self.least.floor() as i32..=self.most.ceil() as i32;
        let ticks =
            decades.flat_map(|decade| digits.iter().map(move |digit| digit * 10_f64.powi(decade)));
        ticks
            .filter(|tick| (self.least..=self.most).contains(&tick.log10()))
            .collect()
    }
}

/// Seconds with three digits that count.
fn seconds_label(value: &f64) -> String {
    match *value {
        ..1.0 => format!("{value:.3}"),
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_holds_all_dots_and_has_ticks() {
        for (least, most) in [(0.2, 0.2), (0.2, 20.0), (100.0, 90_000.0)] {
            let axis = Axis::new(least, most, 100, 500);
            for value in [least, most].into_iter().chain(axis.ticks()) {
                assert!((100..=500).contains(&axis.pixel(value)), "{value}");
            }
            assert!(!axis.ticks().is_empty(), "{least} to {most}");
        }
    }

    #[test]
    fn servers_stand_in_the_order_of_their_figures() {
        let summary = serde_json::json!({
            "rivals": {"bun": {"title": "Bun"}, "fanfare": {"title": "fanfare"}, "ws": {"title": "ws"}},
            "loads": [{"id": "2a", "kind": "updates", "title": "one topic", "results": {
                "bun": {"verified": true, "figures": {"server_cpu_s_per_million": {"median": 3.0, "min": 2.0, "max": 4.0}}},
                "fanfare": {"verified": true, "figures": {"server_cpu_s_per_million": {"median": 1.0, "min": 1.0, "max": 1.0}}},
                "ws": {"reason": "has none"}
            }}]
        });
        let panels = panels(&summary, &SUBJECTS[0]);
        let names: Vec<&str> = panels[0].rows.iter().map(|row| &*row.name).collect();
        assert_eq!(names, ["fanfare", "bun"]);
        assert_eq!(panels[0].title, "2a: one topic");
        assert!(super::panels(&summary, &SUBJECTS[1]).is_empty());
    }
}
