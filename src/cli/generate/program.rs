//! The pages of the programs: `pinfold(8)` and `pinfold-loadtest(1)`.
//!
//! What the command line itself does not say stands here: exit codes, signals, variables, files.

use roff::{bold, italic, roman};

use super::commands::{arguments, describe, describe_argument, shown};
use super::page::{Origin, Page};

/// Options that many commands have, which are described once.
const EVERYWHERE: [&str; 3] = ["admin", "token_file", "json"];

pub(super) fn page(command: &clap::Command, origin: &Origin<'_>) -> String {
    let mut page = Page::begin("PINFOLD", "8", "System Administration", origin);
    page.name(
        "pinfold",
        "load balancer for pools of federation Edge Servers",
    );
    page.section("SYNOPSIS");
    page.usage(vec![
        bold("pinfold"),
        roman(" "),
        italic("COMMAND"),
        roman(" ["),
        italic("OPTION"),
        roman("]... ["),
        italic("ARGUMENT"),
        roman("]..."),
    ]);
    page.usage(vec![
        bold("pinfold"),
        roman(" ["),
        italic("COMMAND"),
        roman("] "),
        bold("--help"),
    ]);
    page.usage(vec![bold("pinfold"), roman(" "), bold("--version")]);
    page.section("DESCRIPTION");
    DESCRIPTION.iter().for_each(|text| page.paragraph(text));
    page.section("OPTIONS");
    page.paragraph("Commands that ask the daemon or change something there all know:");
    let mut everywhere = shown(command).flat_map(arguments);
    for name in EVERYWHERE {
        if let Some(arg) = everywhere.find(|arg| arg.get_id() == name) {
            describe_argument(&mut page, arg);
        }
    }
    page.section("COMMANDS");
    describe(&mut page, command, "pinfold", &EVERYWHERE);
    terms(&mut page, "EXIT STATUS", &EXIT_STATUS);
    terms(&mut page, "SIGNALS", &SIGNALS);
    page.paragraph("These are for `pinfold serve`.");
    terms(&mut page, "ENVIRONMENT", &ENVIRONMENT);
    terms(&mut page, "FILES", &FILES);
    page.section("SEE ALSO");
    page.paragraph(
        "`pinfold.toml`(5), `pinfold-loadtest`(1), `systemctl`(1), `keepalived`(8), `tcpdump`(8), `nft`(8)",
    );
    page.paragraph(
        "What log lines and metrics mean, and what to do: `/usr/share/doc/pinfold/OPERATIONS.md`.",
    );
    page.finish()
}

pub(super) fn loadtest(command: &clap::Command, origin: &Origin<'_>) -> String {
    let mut command = command.clone();
    command.build();
    let mut page = Page::begin("PINFOLD-LOADTEST", "1", "User Commands", origin);
    page.name(
        "pinfold-loadtest",
        "load tests for balancers of federation Edge Servers",
    );
    page.section("SYNOPSIS");
    page.usage(vec![
        bold("pinfold-loadtest"),
        roman(" "),
        italic("COMMAND"),
        roman(" ["),
        italic("OPTION"),
        roman("]... ["),
        italic("ARGUMENT"),
        roman("]..."),
    ]);
    page.section("DESCRIPTION");
    LOADTEST.iter().for_each(|text| page.paragraph(text));
    page.section("COMMANDS");
    describe(&mut page, &command, "pinfold-loadtest", &[]);
    terms(&mut page, "EXIT STATUS", &LOADTEST_EXIT_STATUS);
    page.section("SEE ALSO");
    page.paragraph("`pinfold`(8), and `/usr/share/doc/pinfold/LOADTEST.md` for what figures mean.");
    page.finish()
}

fn terms(page: &mut Page, title: &str, terms: &[(&str, &str)]) {
    page.section(title);
    for (term, text) in terms {
        page.term(vec![vec![bold(*term)]], &[(*text).to_owned()]);
    }
}

const DESCRIPTION: [&str; 3] = [
    "Pinfold stands before a pool of Edge Servers: Office Communications Server 2007 R2, Lync, Skype for Business, or \
     any pool of TLS servers with stubborn peers. It pins each named federation partner to a healthy node, ends the \
     partner's connections at once when that node dies, so that its next connect is served by another one, and writes \
     down how long each partner was cut off.",
    "`pinfold setup` asks for what a first configuration needs, and writes it. `pinfold serve` runs it, as the service \
     `pinfold.service`; `pinfold status` shows how things stand. The configuration is `pinfold.toml`(5).",
    "The other commands ask the daemon by its admin API. Changes last over restarts and reloads; who asked, and why \
     (`--reason`), are kept and shown.",
];

const EXIT_STATUS: [(&str, &str); 7] = [
    ("0", "Done, or well."),
    (
        "1",
        "`maintain`, `drill`: not done, undone, or N-1 does not hold. `probe`: a service does not answer. `vrrp-check`: not \
         ready. `demo`: a partner did not come back. `status --check` exits with 0 to 3, as monitoring plug-ins do.",
    ),
    (
        "64",
        "The command line is wrong, or an answer that `setup` needs.",
    ),
    ("65", "A file to be imported has mistakes."),
    (
        "69",
        "A needed thing is unavailable: no daemon; a setting of a later version; a `state_dir` that is in use.",
    ),
    (
        "71",
        "The system refused: an address in use, a permission, a descriptor, a file.",
    ),
    ("78", "The configuration has mistakes."),
];

const SIGNALS: [(&str, &str); 2] = [
    (
        "SIGHUP",
        "Load the configuration again. What is wrong with it is logged, and the one in force stays; `pinfold reload` does \
         the same, waits, and fails when it is refused.",
    ),
    (
        "SIGTERM, SIGINT",
        "Stop: readiness ends at once, sessions within `stop_timeout`. A second one ends them now.",
    ),
];

const ENVIRONMENT: [(&str, &str); 4] = [
    (
        "PINFOLD_ADMIN",
        "Where the daemon's admin API is, as `--admin`.",
    ),
    (
        "PINFOLD_TOKEN_FILE",
        "A file with the token for changes over TCP, as `--token-file`.",
    ),
    ("NO_COLOR", "Not empty: diagnostics without colours."),
    (
        "NOTIFY_SOCKET, WATCHDOG_USEC",
        "By which systemd hears that it is ready and alive.",
    ),
];

const FILES: [(&str, &str); 5] = [
    ("/etc/pinfold/pinfold.toml", "The configuration."),
    (
        "/run/pinfold/admin.sock",
        "The admin API. The permissions of the file decide who may use it.",
    ),
    (
        "/run/pinfold-view/view.sock",
        "The admin API for reading only, where `view` names it: for the group `pinfold-view`.",
    ),
    (
        "/var/lib/pinfold",
        "`state_dir`: pins, the ledger of failovers, what administrators did to nodes, and the placement key. Change it \
         only while the daemon does not run.",
    ),
    (
        "/usr/share/doc/pinfold/pinfold.toml",
        "Every key with its default, and why; the same as `pinfold.toml`(5).",
    ),
];

const LOADTEST: [&str; 2] = [
    "Simulated Edge Servers, partners that never fail over and remote users, and scenarios that say what must hold \
     when a node is killed or freezes, or what a byte, a connect or a message may cost. It starts Pinfold, HAProxy or \
     nginx in turn on the same cores, or drives a balancer that runs already.",
    "`pinfold-loadtest scenarios` lists what there is; `pinfold-loadtest run partner-failover` is a good beginning.",
];

const LOADTEST_EXIT_STATUS: [(&str, &str); 4] = [
    ("0", "Everything holds."),
    ("1", "Something does not."),
    ("64", "The command line is wrong."),
    (
        "69",
        "Something that is needed is not there, so nothing can be told.",
    ),
];
