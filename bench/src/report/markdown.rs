//! The report as a page to read: what was to be reached first, then each section.

use std::fmt::Write as _;

use super::{Cell, Goal, Report, Section, Table, Wanted};

/// Renders a report whose files begin with a name.
pub fn render(report: &Report, name: &str) -> String {
    let machine = &report.machine;
    let mut page = format!("# Figures of {}\n\n{machine}\n\n", report.day);
    page +=
        "Absolute figures are this machine's, and noisy; each ratio is of two things measured in one run.\n";
    if report.quick {
        page += "This is the short form: fewer rounds, smaller sizes.\n";
    }
    let goals: Vec<_> = report.sections.iter().flat_map(|section| &section.goals).collect();
    if !goals.is_empty() {
        page += "\n## What was to be reached\n\n| figure | reached | wanted | |\n|---|--:|--:|---|\n";
        for goal in goals {
            page += &row_of(goal);
        }
    }
    for section in &report.sections {
        page += &text_of(section, name);
    }
    page
}

fn row_of(goal: &Goal) -> String {
    let wanted = match goal.wanted {
        Wanted::AtLeast(bound) => format!("≥ {bound}"),
        Wanted::AtMost(bound) => format!("≤ {bound}"),
    };
    let mark = if goal.is_reached() { "reached" } else { "**missed**" };
    format!("| {} | {} | {wanted} | {mark} |\n", goal.what, short(goal.reached))
}

/// Three figures that count.
fn short(figure: f64) -> String {
    let decimals = match figure.abs() {
        at if at >= 100.0 => 0,
        at if at >= 10.0 => 1,
        at if at >= 1.0 => 2,
        _ => 3,
    };
    format!("{figure:.decimals$}")
}

fn text_of(section: &Section, name: &str) -> String {
    let mut page = format!("\n## {}\n\n{}\n", section.title, section.text.trim());
    for table in &section.tables {
        page += &rows_of(table);
    }
    for plot in &section.plots {
        let _ = write!(page, "\n![{}]({name}-{}.svg)\n", plot.title, plot.file);
    }
    page
}

fn rows_of(table: &Table) -> String {
    let mut page = String::new();
    if !table.caption.is_empty() {
        let _ = write!(page, "\n{}:\n", table.caption);
    }
    let _ = writeln!(page, "\n| {} |", table.columns.join(" | "));
    let rules: Vec<_> = (0..table.columns.len()).map(|at| if at == 0 { "---" } else { "--:" }).collect();
    let _ = writeln!(page, "|{}|", rules.join("|"));
    for row in &table.rows {
        let cells: Vec<_> = row.iter().map(cell).collect();
        let _ = writeln!(page, "| {} |", cells.join(" | "));
    }
    page
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => text.clone(),
        Cell::Figure(figure, decimals) => format!("{figure:.decimals$}"),
        Cell::Nothing => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_that_was_missed_is_told_as_that() {
        let reached = row_of(&Goal::at_most(20.0, "99 % within, ms", 11.42));
        let missed = row_of(&Goal::at_least(1.0, "times webhook's", 0.7312));
        assert_eq!(reached, "| 99 % within, ms | 11.4 | ≤ 20 | reached |\n");
        assert_eq!(missed, "| times webhook's | 0.731 | ≥ 1 | **missed** |\n");
    }

    #[test]
    fn a_table_has_its_figures_to_the_right() {
        let table = Table {
            caption: "Requests".to_owned(),
            columns: vec!["who".to_owned(), "a second".to_owned(), "ratio".to_owned()],
            rows: vec![
                vec!["grapnel".into(), Cell::whole(1234.5), Cell::figure(1.0, 2)],
                vec!["none".into(), Cell::Nothing, Cell::Nothing],
            ],
        };
        let told = rows_of(&table);
        assert_eq!(
            told,
            "\nRequests:\n\n| who | a second | ratio |\n|---|--:|--:|\n| grapnel | 1234 | 1.00 |\n| none | – | – |\n"
        );
    }
}
