//! Curves as SVG, in colours that can be told apart by everyone (Okabe and Ito's).

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::Plot;

const SIZE: (u32, u32) = (760, 400);
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(90, 90, 90),
];
const FONT: &str = "sans-serif";

/// Draws a plot into a file.
///
/// # Errors
/// There is nothing to draw, or the file cannot be written.
pub fn write(plot: &Plot, file: &Path) -> Result<()> {
    let points = || plot.curves.iter().flat_map(|curve| &curve.points);
    let least = points().map(|at| at.0).fold(f64::INFINITY, f64::min);
    let most = points().map(|at| at.0).fold(f64::NEG_INFINITY, f64::max);
    let top = points().map(|at| at.1).fold(0.0, f64::max) * 1.08;
    if !(least > 0.0 && most > least && top > 0.0) {
        return Err(anyhow!("two points at least, right of zero, make a curve"));
    }
    draw(plot, file, (least..most, 0.0..top)).map_err(|error| anyhow!("{error}"))
}

type Ranges = (std::ops::Range<f64>, std::ops::Range<f64>);

fn draw(plot: &Plot, file: &Path, (across, up): Ranges) -> Result<(), Box<dyn std::error::Error>> {
    let canvas = SVGBackend::new(file, SIZE).into_drawing_area();
    canvas.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&canvas)
        .caption(&plot.title, (FONT, 17))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(72)
        .build_cartesian_2d(across.log_scale(), up)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.12))
        .x_desc(&plot.x)
        .y_desc(&plot.y)
        .x_label_formatter(&|at| thousands(*at))
        .y_label_formatter(&|at| thousands(*at))
        .label_style((FONT, 13))
        .draw()?;
    for (curve, colour) in plot.curves.iter().zip(COLOURS.iter().cycle()) {
        let line = LineSeries::new(curve.points.iter().copied(), colour.stroke_width(2)).point_size(3);
        chart
            .draw_series(line)?
            .label(&curve.name)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .label_font((FONT, 13))
        .draw()?;
    canvas.present()?;
    Ok(())
}

/// A figure on an axis: `1 000 000` is hard to read there, `1M` is not.
fn thousands(figure: f64) -> String {
    let trimmed = |figure: f64| format!("{figure:.1}").trim_end_matches(".0").to_owned();
    match figure {
        at if at >= 1e6 => format!("{}M", trimmed(at / 1e6)),
        at if at >= 1e3 => format!("{}k", trimmed(at / 1e3)),
        at => trimmed(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Curve;

    #[test]
    fn a_plot_names_its_curves_and_its_axes() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("plot.svg");
        let plot = Plot {
            file: "rates".to_owned(),
            title: "Triggers".to_owned(),
            x: "connections".to_owned(),
            y: "requests/s".to_owned(),
            curves: vec![Curve { name: "grapnel".to_owned(), points: vec![(1.0, 500.0), (256.0, 15_900.0)] }],
        };
        write(&plot, &file).expect("it is drawn");
        let drawn = std::fs::read_to_string(file).expect("it is there");
        for told in ["Triggers", "connections", "requests/s", "grapnel", "10k"] {
            assert!(drawn.contains(told), "{told} is missing");
        }
        let empty = Plot { curves: Vec::new(), ..plot };
        assert!(write(&empty, &directory.path().join("empty.svg")).is_err(), "nothing is no curve");
    }
}
