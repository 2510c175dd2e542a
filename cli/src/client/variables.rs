//! `grapnel env`.

use std::process::ExitCode;

use grapnel_proto::hooks::v1::{
    DeleteVariableRequest, ListVariablesRequest, SetVariablesRequest, Variable, VariableValue,
};

use super::{Client, input};
use crate::{
    args::{EnvCommand, Input},
    env_file,
    exit::Failure,
    output::Printer,
};

impl Client {
    pub(super) async fn env(&mut self, command: EnvCommand) -> Result<ExitCode, Failure> {
        match command {
            EnvCommand::Set { project, variables, secret, branches, value_file } => {
                let variables = values(&variables, secret, &branches.branches, value_file.as_ref())?;
                self.set_variables(project, variables).await?;
            }
            EnvCommand::Import { project, file, plain, branches } => {
                let entries = env_file::read(&input::read(&file)?);
                let entries = entries.map_err(|error| Failure::failed(error.to_string()))?;
                unknown_names(&plain, &entries)?;
                let all_plain = plain.iter().any(|name| name == "*");
                let value = |entry: env_file::Entry| VariableValue {
                    secret: !all_plain && !plain.contains(&entry.name),
                    name: entry.name,
                    value: entry.value,
                    branches: branches.branches.clone(),
                };
                let variables: Vec<_> = entries.into_iter().map(value).collect();
                refuse_short(&variables)?;
                self.set_variables(project, variables).await?;
            }
            EnvCommand::List { project } => {
                let request = ListVariablesRequest { project };
                let answer = self.answer(self.variables.clone().list_variables(request)).await?;
                self.printer.message("grapnel.hooks.v1.ListVariablesResponse", &answer, |printer| {
                    shown(printer, &answer.variables)
                })?;
            }
            EnvCommand::Unset { project, name, branches } => {
                let request = DeleteVariableRequest { project, name, branches: branches.branches };
                let answer = self.answer(self.variables.clone().delete_variable(request)).await?;
                self.printer
                    .message("grapnel.hooks.v1.DeleteVariableResponse", &answer, |_| "removed".to_owned())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn set_variables(&self, project: String, variables: Vec<VariableValue>) -> Result<(), Failure> {
        let request = SetVariablesRequest { project, variables };
        let answer = self.answer(self.variables.clone().set_variables(request)).await?;
        self.printer.message("grapnel.hooks.v1.SetVariablesResponse", &answer, |printer| {
            format!("{}\n\nBuilds that begin from now on have them.", shown(printer, &answer.variables))
        })?;
        Ok(())
    }
}

/// Reads what the command line says of values.
fn values(
    variables: &[String],
    secret: bool,
    branches: &str,
    file: Option<&Input>,
) -> Result<Vec<VariableValue>, Failure> {
    let branches = branches.to_owned();
    if let [name] = variables
        && !name.contains('=')
    {
        let value = input::secret(file, &format!("The value of {name}"))?;
        return Ok(vec![VariableValue { name: name.clone(), value, secret, branches }]);
    }
    if file.is_some() {
        return Err(Failure::usage("--value-file goes with one NAME, without a value"));
    }
    if secret {
        return Err(Failure::usage(
            "a secret's value does not belong on the command line, where everybody on the machine can read it: \
             give one NAME, and the value by --value-file, on standard input or when asked",
        ));
    }
    let value = |variable: &String| match variable.split_once('=') {
        Some((name, value)) => Ok(VariableValue {
            name: name.to_owned(),
            value: value.to_owned(),
            secret,
            branches: branches.clone(),
        }),
        None => Err(Failure::usage(format!("`{variable}` has no value: NAME=VALUE, or one NAME alone"))),
    };
    variables.iter().map(value).collect()
}

fn unknown_names(plain: &[String], entries: &[env_file::Entry]) -> Result<(), Failure> {
    let is_unknown = |name: &&String| *name != "*" && entries.iter().all(|entry| entry.name != **name);
    match plain.iter().find(is_unknown) {
        Some(name) => Err(Failure::usage(format!("--plain names `{name}`, which the file does not set"))),
        None => Ok(()),
    }
}

/// Says which values are too short to be secrets, with how to import them all the same.
fn refuse_short(variables: &[VariableValue]) -> Result<(), Failure> {
    let shortest = grapnel_domain::variable::SHORTEST_SECRET;
    let is_short = |it: &&VariableValue| it.secret && it.value.trim().chars().count() < shortest;
    let short: Vec<_> = variables.iter().filter(is_short).map(|it| it.name.as_str()).collect();
    if short.is_empty() {
        return Ok(());
    }
    let names = short.join(",");
    Err(Failure::failed(format!("these are too short to be hidden in a log: {names}"))
        .hint(format!("Nothing was set. `--plain {names}` imports them as they are, for everybody to see.")))
}

fn shown(printer: &Printer, variables: &[Variable]) -> String {
    let rows = variables.iter().map(|it| {
        let value = if it.secret { "(secret)".to_owned() } else { it.value.chars().take(60).collect() };
        let branches = if it.branches.is_empty() { "(all)".to_owned() } else { it.branches.clone() };
        vec![it.name.clone(), value, branches, printer.ago(it.updated_at.as_ref())]
    });
    printer.table(
        &["NAME", "VALUE", "BRANCHES", "SET"],
        rows,
        "no variables yet; `grapnel env set` and `grapnel env import` make them",
    )
}
