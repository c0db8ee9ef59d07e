// SPDX-License-Identifier: MIT
//! The command line.

use clap::{Arg, ArgAction, Command, value_parser};

pub fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
    };
    Command::new("umf-info")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Shows userspace memory fences, and which process blocks which")
        .arg(
            Arg::new("pid")
                .value_name("PID")
                .help("Processes to show; without any, the machine and all processes")
                .num_args(0..)
                .value_parser(value_parser!(u32).range(1..)),
        )
        .arg(flag("machine", "Show only what this machine and its devices can do"))
        .arg(flag("json", "Write JSON"))
        .arg(flag("dot", "Write the wait-for graph for Graphviz (dot -Tsvg)"))
        .arg(
            flag("record-waits", "Have blocking waits recorded, which writes to the pages")
                .requires("pid"),
        )
        .arg(flag("follow", "Show a table of the fences again and again, with rates"))
        .arg(
            Arg::new("interval")
                .long("interval")
                .value_name("SECONDS")
                .help("The time between two tables")
                .value_parser(value_parser!(u32).range(1..=3600))
                .default_value("1"),
        )
        .arg(
            Arg::new("count")
                .long("count")
                .value_name("NUMBER")
                .help("End after that many tables")
                .value_parser(value_parser!(u32).range(1..))
                .requires("follow"),
        )
        .group(clap::ArgGroup::new("format").args(["json", "dot", "follow"]))
        .group(clap::ArgGroup::new("one_report").args(["record-waits"]).conflicts_with("follow"))
        .group(clap::ArgGroup::new("only_machine").args(["machine"]).conflicts_with_all([
            "pid",
            "dot",
            "follow",
            "record-waits",
        ]))
}

#[cfg(test)]
mod tests {
    use super::command;
    use clap_complete::{Shell, generate};

    /// Compares the committed completions with what clap makes of the command line. With
    /// UMF_INFO_WRITE_COMPLETIONS set, writes them.
    #[test]
    fn the_completions_are_those_of_the_command_line() -> std::io::Result<()> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/completions/");
        for (shell, name) in [
            (Shell::Bash, "umf-info.bash"),
            (Shell::Zsh, "_umf-info"),
            (Shell::Fish, "umf-info.fish"),
        ] {
            let mut made = Vec::new();
            generate(shell, &mut command(), "umf-info", &mut made);
            if std::env::var_os("UMF_INFO_WRITE_COMPLETIONS").is_some() {
                std::fs::write(format!("{folder}{name}"), &made)?;
            }
            assert!(std::fs::read(format!("{folder}{name}"))? == made, "{name} is stale");
        }
        Ok(())
    }

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }
}
