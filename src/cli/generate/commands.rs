//! Subcommands, as sections of a page: how each is written, what it does, and its options.

use clap::{Arg, Command};
use roff::{Inline, bold, italic, roman};

use super::page::{Page, option};

/// Describes every subcommand, also those inside others. Options in `everywhere` are described elsewhere.
pub(super) fn describe(page: &mut Page, command: &Command, name: &str, everywhere: &[&str]) {
    for subcommand in shown(command) {
        let name = format!("{name} {}", subcommand.get_name());
        page.part(&name);
        page.usage(usage(&name, subcommand));
        for paragraph in about(subcommand) {
            page.paragraph(&paragraph);
        }
        let is_here = |arg: &&Arg| !everywhere.contains(&arg.get_id().as_str());
        for arg in arguments(subcommand).filter(is_here) {
            describe_argument(page, arg);
        }
        describe(page, subcommand, &name, everywhere);
    }
}

/// An option or an argument, and what it means.
pub(super) fn describe_argument(page: &mut Page, arg: &Arg) {
    let value = value_name(arg);
    let head = match arg.get_long() {
        Some(long) => option(&format!("--{long}"), value.as_deref()),
        None => vec![italic(value.unwrap_or_default())],
    };
    let help = arg.get_long_help().or_else(|| arg.get_help());
    let mut text = sentence(&help.map(ToString::to_string).unwrap_or_default());
    let words = arg.get_possible_values();
    if !words.is_empty() && takes_value(arg) {
        let words: Vec<_> = words.iter().map(|word| word.get_name()).collect();
        text += &format!(" One of: {}.", words.join(", "));
    }
    let defaults = arg.get_default_values();
    if let [default] = defaults
        && takes_value(arg)
    {
        text += &format!(" Default: `{}`.", default.to_string_lossy());
    }
    if let Some(variable) = arg.get_env() {
        text += &format!(" Also by `{}`.", variable.to_string_lossy());
    }
    page.term(vec![head], &[text]);
}

/// Those that help shows.
pub(super) fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    let is_shown = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    command.get_subcommands().filter(is_shown)
}

/// Arguments before options, as they are listed.
pub(super) fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    let is_shown =
        |arg: &&Arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str());
    let positionals = command.get_positionals().filter(is_shown);
    let is_option = |arg: &&Arg| !arg.is_positional();
    let options = command.get_arguments().filter(is_option).filter(is_shown);
    positionals.chain(options)
}

/// `pinfold drain [--deadline TIME] NODE`.
fn usage(name: &str, command: &Command) -> Vec<Inline> {
    let mut line = vec![bold(name)];
    let (positionals, options): (Vec<_>, Vec<_>) =
        arguments(command).partition(|arg| arg.is_positional());
    for arg in options.into_iter().chain(positionals) {
        let value = value_name(arg);
        let inside = match arg.get_long() {
            // A break between the two would look like two things.
            Some(long) => match value {
                Some(value) => vec![bold(format!("--{long}")), roman("\u{a0}"), italic(value)],
                None => vec![bold(format!("--{long}"))],
            },
            None => vec![italic(value.unwrap_or_default())],
        };
        let is_needed = arg.is_required_set() && arg.get_default_values().is_empty();
        let (open, close) = if is_needed { (" ", "") } else { (" [", "]") };
        line.push(roman(open));
        line.extend(inside);
        line.push(roman(close));
        if matches!(arg.get_action(), clap::ArgAction::Append) {
            line.push(roman("..."));
        }
    }
    line
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_num_args().is_none_or(|count| count.takes_values())
}

fn value_name(arg: &Arg) -> Option<String> {
    if !takes_value(arg) {
        return None;
    }
    let names = arg.get_value_names().unwrap_or_default();
    match names {
        [] => Some(arg.get_id().as_str().to_uppercase()),
        names => Some(names.join(" ")),
    }
}

/// What a command does, paragraph by paragraph.
fn about(command: &Command) -> Vec<String> {
    let about = command.get_long_about().or_else(|| command.get_about());
    let text = about.map(ToString::to_string).unwrap_or_default();
    text.split("\n\n").map(sentence).collect()
}

/// `text` on one line, with its full stop, which clap takes away.
pub(super) fn sentence(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.chars().last() {
        Some('.' | '?' | '!' | ':') | None => line,
        Some(_) => line + ".",
    }
}
