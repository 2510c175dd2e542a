//! Durable triggers by how many connections ask at once, beside what one would use instead and the floors.

mod floor;
pub(super) mod hooked;
mod subjects;

use std::time::Duration;

use anyhow::Result;
use subjects::{Outcome, Subject, Subjects};

use super::Form;
use crate::{
    database::Kind,
    load::median,
    report::{Cell, Curve, Goal, Plot, Section, Table},
};

const OURS: Subject = Subject::Grapnel(Kind::Sqlite);

/// At so many connections figures are held against what is to be reached.
pub(super) const USUAL: usize = 64;

const TEXT: &str = "\
Requests with POST to the URLs of a hundred hooks of a `grapnel up`, one after the other over each connection, by wrk on the
same cores. Each is answered after the commit of what it stores: a deployment, which takes the place of the hook's one that
waits, their events and a row of the ledger. After each load the rows are counted: as many as answers, or more by what each
connection asked for last.

Beside it, in turn: adnanh/webhook as Debian has it, which runs `/bin/true`, stores nothing and answers before the command has
run; a handler in axum that answers a constant; and the floors, the rows of one deployment, one event and the ledger by the
database's own client: pgbench with as many clients as there are connections, a transaction for each trigger, and sqlite3, one
writer with as many triggers in each transaction (synchronous FULL). Ratios are the medians of the rounds' own.";

/// One turn of one of them.
struct Turn {
    subject: Subject,
    connections: usize,
    outcome: Outcome,
}

/// All turns.
struct Turns(Vec<Turn>);

/// Measures them in turn.
///
/// # Errors
/// One of them does not answer all, or Grapnel has not stored what it answered.
pub async fn measure(form: Form) -> Result<Section> {
    let connections = form.pick(&[1, USUAL][..], &[1, 4, 16, USUAL, 256]);
    let lasting = Duration::from_secs(form.pick(1, 3));
    let subjects = Subjects::start().await?;
    let mut turns = Turns(Vec::new());
    for _ in 0..form.pick(1, 5) {
        for connections in connections {
            for subject in Subject::ALL {
                let outcome = subjects.ask(subject, *connections, lasting).await?;
                turns.0.push(Turn { subject, connections: *connections, outcome });
            }
        }
    }
    Ok(section(&turns, connections))
}

fn section(turns: &Turns, connections: &[usize]) -> Section {
    let rate = |turn: &Turn| turn.outcome.answered.rate;
    let p50 = |turn: &Turn| turn.outcome.answered.p50;
    let p99 = |turn: &Turn| turn.outcome.answered.p99;
    let tables = vec![
        turns.table("Requests answered a second, by connections", &Subject::ALL, connections, 0, rate),
        turns.table("Half of them answered within, ms", &Subject::ALL, connections, 2, p50),
        turns.table("99 of 100 answered within, ms", &Subject::ALL, connections, 2, p99),
        turns.ratios(connections),
        turns.costs(connections),
    ];
    let served: Vec<_> =
        Subject::ALL.into_iter().filter(|subject| !matches!(subject, Subject::Floor(_))).collect();
    // A constant is answered so often that nothing else can be told apart beside it.
    let storing: Vec<_> = Subject::ALL.into_iter().filter(|subject| *subject != Subject::Constant).collect();
    let plots = vec![
        turns.plot("triggers-rate", "Durable triggers", "requests/s", &storing, connections, rate),
        turns.plot("triggers-constant", "Beside a constant", "requests/s", &served, connections, rate),
        turns.plot("triggers-p99", "99 of 100 triggers answered within", "ms", &served, connections, p99),
    ];
    let goals = vec![
        Goal::at_least(
            1.0,
            "triggers at 64 connections on SQLite, times adnanh/webhook's",
            turns.ratio(OURS, Subject::Webhook, USUAL),
        ),
        Goal::at_least(
            0.2,
            "triggers at 64 connections on SQLite, times a constant's of axum",
            turns.ratio(OURS, Subject::Constant, USUAL),
        ),
        Goal::at_most(
            20.0,
            "triggers at 64 connections on SQLite, 99 of 100 answered within, ms",
            turns.median(OURS, USUAL, p99),
        ),
    ];
    Section { name: "triggers", title: "Triggers".to_owned(), text: TEXT.to_owned(), tables, plots, goals }
}

impl Turns {
    fn of(&self, subject: Subject, connections: usize) -> impl Iterator<Item = &Turn> {
        self.0.iter().filter(move |turn| turn.subject == subject && turn.connections == connections)
    }

    fn median(&self, subject: Subject, connections: usize, figure: impl Fn(&Turn) -> f64) -> f64 {
        median(&self.of(subject, connections).map(figure).collect::<Vec<_>>())
    }

    /// The median of one's rate by another's of the same round.
    fn ratio(&self, one: Subject, other: Subject, connections: usize) -> f64 {
        let rate = |turn: &Turn| turn.outcome.answered.rate;
        let pairs = self.of(one, connections).map(rate).zip(self.of(other, connections).map(rate));
        median(&pairs.map(|(one, other)| one / other).collect::<Vec<_>>())
    }

    fn table(
        &self,
        caption: &str,
        subjects: &[Subject],
        connections: &[usize],
        decimals: usize,
        figure: impl Fn(&Turn) -> f64,
    ) -> Table {
        let row = |subject: &Subject| {
            let figures = connections.iter().map(|at| self.median(*subject, *at, &figure));
            row(subject.to_string(), figures, decimals)
        };
        Table {
            caption: caption.to_owned(),
            columns: columns(connections),
            rows: subjects.iter().map(row).collect(),
        }
    }

    fn ratios(&self, connections: &[usize]) -> Table {
        let mut rows = Vec::new();
        for kind in Kind::ALL {
            let ours = Subject::Grapnel(kind);
            for other in [Subject::Webhook, Subject::Constant, Subject::Floor(kind)] {
                let figures = connections.iter().map(|at| self.ratio(ours, other, *at));
                rows.push(row(format!("{ours}: times {other}"), figures, 2));
            }
        }
        Table { caption: "Ratios".to_owned(), columns: columns(connections), rows }
    }

    /// What Grapnel uses of the machine; on PostgreSQL without the server's own.
    fn costs(&self, connections: &[usize]) -> Table {
        let loaded = |figure: fn(&hooked::Loaded) -> f64| {
            move |turn: &Turn| turn.outcome.loaded.as_ref().map_or(0.0, figure)
        };
        let mut rows = Vec::new();
        for kind in Kind::ALL {
            let ours = Subject::Grapnel(kind);
            let mut add = |what: &str, decimals, figure: fn(&hooked::Loaded) -> f64| {
                let figures = connections.iter().map(|at| self.median(ours, *at, loaded(figure)));
                rows.push(row(format!("{ours}: {what}"), figures, decimals));
            };
            add("cores used", 2, |loaded| loaded.cores);
            add("microseconds of a core for each", 0, |loaded| loaded.microseconds);
            add("resident MiB", 1, |loaded| loaded.resident_mib);
        }
        Table {
            caption: "What Grapnel's process uses meanwhile".to_owned(),
            columns: columns(connections),
            rows,
        }
    }

    fn plot(
        &self,
        file: &str,
        title: &str,
        unit: &str,
        subjects: &[Subject],
        connections: &[usize],
        figure: impl Fn(&Turn) -> f64,
    ) -> Plot {
        let curve = |subject: &Subject| Curve {
            name: subject.to_string(),
            points: connections.iter().map(|at| (*at as f64, self.median(*subject, *at, &figure))).collect(),
        };
        Plot {
            file: file.to_owned(),
            title: title.to_owned(),
            x: "connections".to_owned(),
            y: unit.to_owned(),
            curves: subjects.iter().map(curve).collect(),
        }
    }
}

fn row(name: String, figures: impl Iterator<Item = f64>, decimals: usize) -> Vec<Cell> {
    // How long each insert of sqlite3's took is known to nobody.
    let cell = |it| if it > 0.0 { Cell::figure(it, decimals) } else { Cell::Nothing };
    std::iter::once(Cell::from(name)).chain(figures.map(cell)).collect()
}

fn columns(connections: &[usize]) -> Vec<String> {
    std::iter::once("connections".to_owned()).chain(connections.iter().map(usize::to_string)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Answered;

    #[test]
    fn a_ratio_is_of_two_turns_of_one_round() {
        let turn = |subject, rate| {
            let answered = Answered { answers: 1, rate, p50: 1.0, p99: 2.0 };
            Turn { subject, connections: USUAL, outcome: Outcome { answered, loaded: None } }
        };
        // The machine is half as fast in the second round; the ratio is not.
        let rounds = [(100.0, 50.0), (50.0, 25.0), (100.0, 60.0)];
        let turns =
            rounds.iter().flat_map(|(ours, theirs)| [turn(OURS, *ours), turn(Subject::Webhook, *theirs)]);
        let turns = Turns(turns.collect());
        assert!((turns.ratio(OURS, Subject::Webhook, USUAL) - 2.0).abs() < 1e-9);
        assert!((turns.median(OURS, USUAL, |turn| turn.outcome.answered.rate) - 100.0).abs() < 1e-9);
        let section = section(&turns, &[USUAL]);
        let reached: Vec<_> = section.goals.iter().map(|goal| goal.reached).collect();
        assert_eq!(reached, [2.0, 0.0, 2.0], "nothing was asked of the constant");
    }
}
