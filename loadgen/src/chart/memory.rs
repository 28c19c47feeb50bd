//! memory.svg: bytes a connection by owner, stacked, one bar a phase: what the server accounts for,
//! the rest of its resident memory, and the kernel's part.

use super::frame::{bar_key, framed, legend};
use super::{Area, COLOURS, FONT, LABEL, SIZE, bytes_label, name_phases, told};
use plotters::prelude::*;
use serde_json::Value;

/// Owners in the order of their stack; several keys of the server's ledger make one.
const OWNERS: [(&str, &[&str]); 7] = [
    ("connections, TLS", &["slab_bytes", "tls_bytes"]),
    ("subscriptions", &["subscription_bytes"]),
    ("topics, history", &["topic_bytes", "history_bytes"]),
    ("frames, outboxes", &["outbox_bytes", "frame_bytes"]),
    ("marks", &["mark_bytes"]),
    (
        "input, buffers, spare",
        &["input_bytes", "buffer_bytes", "spare_bytes"],
    ),
    ("rest of the process", &[]),
];
const KERNEL: &str = "kernel (host, both ends)";

/// Bytes a connection of each owner, then the kernel's; `None` if the server did not say.
fn stack(phase: &Value) -> Option<Vec<f64>> {
    let memory = &phase["server_memory"];
    let open = phase["connections_open"]
        .as_f64()
        .filter(|open| *open > 0.0)?;
    let bytes = |key: &str| memory[key].as_f64().unwrap_or(0.0);
    let accounted = memory["accounted_bytes"].as_f64()?;
    let mut stack: Vec<f64> = OWNERS
        .iter()
        .map(|(_, keys)| keys.iter().map(|key| bytes(key)).sum::<f64>() / open)
        .collect();
    if let Some(rest) = stack.last_mut() {
        *rest = (bytes("rss_bytes") - accounted).max(0.0) / open;
    }
    let caches = memory["kernel_slab_bytes"].as_object();
    let slab = caches.map_or(0.0, |caches| {
        caches.values().filter_map(Value::as_f64).sum::<f64>()
    });
    stack.push((slab + bytes("tcp_buffer_bytes")) / open);
    Some(stack)
}

pub(super) fn draw(area: &Area<'_>, phases: &[Value]) -> anyhow::Result<bool> {
    let stacks = phases
        .iter()
        .filter_map(|phase| Some((phase["name"].as_str()?.to_owned(), stack(phase)?)));
    let (names, stacks): (Vec<String>, Vec<Vec<f64>>) = stacks.unzip();
    let most = stacks.iter().map(|stack| stack.iter().sum::<f64>());
    let most = most.fold(0.0, f64::max) * 1.1;
    if most == 0.0 {
        return Ok(false);
    }
    let end = names.len() as f64 * 1.4;
    let mut chart = framed(area, "Memory a connection by owner")
        .build_cartesian_2d(0.0..end, 0.0..most)
        .map_err(told)?;
    chart
        .configure_mesh()
        .label_style((FONT, LABEL))
        .axis_desc_style((FONT, LABEL))
        .disable_x_mesh()
        .x_labels(0)
        .y_desc("bytes a connection, at the phase's end")
        .y_label_formatter(&bytes_label)
        .draw()
        .map_err(told)?;
    let labels = OWNERS.iter().map(|(label, _)| *label).chain([KERNEL]);
    for (place, label) in labels.enumerate() {
        let bars = stacks.iter().enumerate().map(|(index, stack)| {
            let below: f64 = stack[..place].iter().sum();
            let left = index as f64 + 0.15;
            let corners = [(left, below), (left + 0.7, below + stack[place])];
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
