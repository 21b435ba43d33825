//! What was typed. What it means is worked out in `plan`.

use crate::engine::{DEFAULT_LIVE_MEMORY, DEFAULT_MAX_DROP, DEFAULT_MAX_FLOWS, DEFAULT_MAX_MEMORY};
use crate::model::finding::Grade;
use crate::model::pair::{Fronts, PerTap};
use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use std::path::PathBuf;
use std::str::FromStr;

/// After the options on `--help`.
const AFTER: &str = "\
Exit status:
  0 finished            1 a finding at or above --fail-on
  2 wrong usage         3 nothing could be analysed
  4 finished, but the input was damaged or incomplete
  5 cannot capture      130, 143 ended by a signal

The program never resolves names and never opens a network connection.";

/// The whole command line.
#[derive(Parser, Debug)]
#[command(
    name = "tamperscope",
    version,
    about = "Which messaging services are in a capture, and what the network did to them",
    after_help = AFTER,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// A command; without one, the arguments are those of `analyze`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The default command.
    #[command(flatten)]
    pub analyze: AnalyzeArgs,
    /// List the interfaces that can be captured (same as `tamperscope interfaces`)
    #[arg(short = 'D', long = "list-interfaces", exclusive = true)]
    pub list_interfaces: bool,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Analyse captures: the default command
    Analyze(AnalyzeArgs),
    /// Watch network interfaces
    Live(LiveArgs),
    /// Compare two captures of the same connections, taken at two places
    Pair(PairArgs),
    /// Run every case under a directory and compare
    Verify(VerifyArgs),
    /// Only the evidence of a finding, as a small capture
    Slice(SliceArgs),
    /// What a rule claims, what it looks like, what else it could be
    Explain(ExplainArgs),
    /// List detectors and services; check service files
    Rules(RulesArgs),
    /// List the interfaces that can be captured
    Interfaces,
    /// What can be captured here, and the command that fixes what cannot
    Doctor,
    /// JSON Schema of the JSONL records
    Schema,
    /// Shell completions on standard output
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Manual page on standard output
    Man,
}

/// Arguments of `analyze`.
#[derive(Args, Debug, Default, Clone)]
pub struct AnalyzeArgs {
    /// Captures (pcap, pcapng, also in gzip or zstd), directories of them, or - for standard input
    #[arg(value_name = "FILE|DIR|-")]
    pub inputs: Vec<PathBuf>,
    /// Read this capture (as in tcpdump; same as a plain FILE)
    #[arg(short = 'r', long = "read", value_name = "FILE")]
    pub read: Vec<PathBuf>,
    /// Analyse only frames that this filter lets through, in libpcap's language as in tcpdump; frame numbers stay those of the file
    #[arg(short = 'f', long = "filter", value_name = "FILTER")]
    pub filter: Option<String>,
    /// JSON Lines on standard output, and nothing else there
    #[arg(long)]
    pub json: bool,
    /// With --json: add the time series of busy flows (bytes, drops and acknowledged bytes in each bin of time)
    #[arg(long, requires = "json")]
    pub series: bool,
    /// Also write KIND to PATH; kinds: jsonl, jsonl-series, html, pcapng, zeek, zeek-json
    #[arg(long, value_name = "KIND=PATH")]
    pub out: Vec<String>,
    /// Add or override services
    #[arg(long, value_name = "FILE")]
    pub services: Vec<PathBuf>,
    /// Worker threads [default: one for each processor]
    #[arg(short = 'j', long = "jobs", value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// Most flows followed at a time
    #[arg(long, value_name = "N", default_value_t = Count(DEFAULT_MAX_FLOWS))]
    pub max_flows: Count,
    /// Most memory for flows, e.g. 512M or 2G
    #[arg(long, value_name = "SIZE", default_value_t = Size(DEFAULT_MAX_MEMORY))]
    pub max_memory: Size,
    /// Stop after this many packets
    #[arg(short = 'c', long = "count", value_name = "N")]
    pub count: Option<u64>,
    /// Exit with 1 if a finding has at least this grade
    #[arg(long, value_name = "GRADE")]
    pub fail_on: Option<FailOn>,
    /// Packets the capture may have lost before the run counts as degraded
    #[arg(long, value_name = "PERCENT", default_value_t = Percent::default())]
    pub max_drop: Percent,
    /// Colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Print only how many findings there are
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print more: all findings with their evidence, a line for each flow
    #[arg(short, long)]
    pub verbose: bool,
    /// Also show services that are ways around blocking
    #[arg(long)]
    pub show_circumvention: bool,
    /// Also show why each flow was given its service, line by line with weights
    #[arg(long, conflicts_with = "quiet")]
    pub explain_labels: bool,
    /// Also guess at proxies from sizes and randomness: more often wrong than the rest
    #[arg(long)]
    pub heuristics: bool,
    /// Accepted for habit: names are never resolved
    #[arg(short = 'n', hide = true)]
    pub numeric: bool,
    /// Of `pair` only: what each capture is said to stand in front of
    #[arg(skip)]
    pub fronts: Fronts,
}

/// Arguments of `live`.
#[derive(Args, Debug, Clone)]
pub struct LiveArgs {
    /// Capture filter in libpcap's language, as in tcpdump
    #[arg(value_name = "FILTER", conflicts_with = "filter")]
    pub expression: Vec<String>,
    /// Interface to listen on (repeatable); any: all of them
    #[arg(short = 'i', long = "interface", value_name = "IFACE", required = true)]
    pub interfaces: Vec<String>,
    /// The same filter, as an option
    #[arg(short = 'f', long = "filter", value_name = "FILTER")]
    pub filter: Option<String>,
    /// Bytes to capture of each frame
    #[arg(short = 's', long, value_name = "BYTES", default_value_t = 262_144, value_parser = clap::value_parser!(u32).range(64..=262_144))]
    pub snaplen: u32,
    /// Kernel buffer for each socket
    #[arg(short = 'B', long = "buffer", value_name = "SIZE", default_value = "16M")]
    pub buffer: Size,
    /// Have each packet handed over as it comes, not several at a time
    #[arg(long)]
    pub immediate_mode: bool,
    /// Promiscuous mode: also frames for others (may need more rights)
    #[arg(long)]
    pub promisc: bool,
    /// Sockets and threads that share each interface (Linux)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub capture_threads: u8,
    /// Stop by itself, e.g. duration:60 (seconds)
    #[arg(short = 'a', long = "autostop", value_name = "duration:N")]
    pub autostop: Option<Autostop>,
    /// Stop after this many packets
    #[arg(short = 'c', long = "count", value_name = "N")]
    pub count: Option<u64>,
    /// Also write what is captured to this file, as pcapng
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// With -w: begin another file after this many million bytes
    #[arg(short = 'C', value_name = "MB", requires = "write")]
    pub rotate_size: Option<std::num::NonZeroU32>,
    /// With -w: begin another file after this many seconds
    #[arg(short = 'G', value_name = "SECONDS", requires = "write")]
    pub rotate_age: Option<std::num::NonZeroU32>,
    /// With -w and -C or -G: keep only the last so many files
    #[arg(short = 'W', value_name = "N", requires = "write")]
    pub rotate_files: Option<std::num::NonZeroU32>,
    /// JSON Lines on standard output (also what happens when that is no terminal)
    #[arg(long)]
    pub json: bool,
    /// Also write KIND to PATH, e.g. jsonl=FILE, as it goes
    #[arg(long, value_name = "KIND=PATH")]
    pub out: Vec<String>,
    /// Seconds between two looks at how things stand
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub interval: u32,
    /// Keep the packets of findings in this directory, a pcapng file for each
    #[arg(long, value_name = "DIR")]
    pub evidence: Option<PathBuf>,
    /// Most disk space for evidence; the oldest goes first
    #[arg(long, value_name = "SIZE", default_value = "256M", requires = "evidence")]
    pub evidence_size: Size,
    /// Hours to keep evidence
    #[arg(long, value_name = "HOURS", default_value_t = 168, requires = "evidence")]
    pub evidence_age: u32,
    /// Write clients' real addresses into evidence
    #[arg(long, requires = "evidence")]
    pub evidence_real_addresses: bool,
    /// Serve metrics for Prometheus on this address, e.g. 9108 (loopback) or 127.0.0.1:9108
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<String>,
    /// What to do about rights once the sockets are open
    #[arg(long, value_name = "HOW", default_value = "best")]
    pub sandbox: Sandbox,
    /// Add or override services
    #[arg(long, value_name = "FILE")]
    pub services: Vec<PathBuf>,
    /// Worker threads [default: one for each processor]
    #[arg(short = 'j', long = "jobs", value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// Most flows followed at a time
    #[arg(long, value_name = "N", default_value_t = Count(DEFAULT_MAX_FLOWS))]
    pub max_flows: Count,
    /// Most memory
    #[arg(long, value_name = "SIZE", default_value_t = Size(DEFAULT_LIVE_MEMORY))]
    pub max_memory: Size,
    /// Exit with 1 if a finding has at least this grade
    #[arg(long, value_name = "GRADE")]
    pub fail_on: Option<FailOn>,
    /// Packets that may be lost before the run counts as degraded
    #[arg(long, value_name = "PERCENT", default_value_t = Percent::default())]
    pub max_drop: Percent,
    /// Colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// No notices on standard error
    #[arg(short, long)]
    pub quiet: bool,
    /// Also show services that are ways around blocking
    #[arg(long)]
    pub show_circumvention: bool,
    /// Accepted for habit: names are never resolved
    #[arg(short = 'n', hide = true)]
    pub numeric: bool,
}

/// When to stop, as dumpcap has it: `duration:N`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Autostop(pub std::time::Duration);

impl FromStr for Autostop {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let seconds = text.strip_prefix("duration:").ok_or("is not duration:N")?;
        match seconds.parse::<f64>() {
            Ok(s) if s > 0.0 && s < 1e9 => Ok(Self(std::time::Duration::from_secs_f64(s))),
            _ => Err("is not a number of seconds".into()),
        }
    }
}

/// What to do about rights.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sandbox {
    /// Give up all rights, or do not run
    Strict,
    /// Give up what this system lets us give up, but keep the right to open an interface again that had vanished
    #[default]
    Best,
    /// Keep everything
    Off,
}

/// Arguments of `pair`.
#[derive(Args, Debug, Clone)]
pub struct PairArgs {
    /// A capture taken at one place, e.g. at the client
    pub a: PathBuf,
    /// A capture of the same connections taken at another place, e.g. at the server
    pub b: PathBuf,
    /// A recorded every packet of this address or prefix (repeatable): nothing of it stands between the two places
    #[arg(long, value_name = "ADDR|PREFIX", value_parser = front)]
    pub a_has: Vec<IpNet>,
    /// The same of B, e.g. the server's addresses, as A sees them: then what A got in their name, B having nothing of it, is proved
    #[arg(long, value_name = "ADDR|PREFIX", value_parser = front)]
    pub b_has: Vec<IpNet>,
    /// JSON Lines on standard output, and nothing else there
    #[arg(long)]
    pub json: bool,
    /// Also write KIND to PATH; kinds: jsonl, jsonl-series, html
    #[arg(long, value_name = "KIND=PATH")]
    pub out: Vec<String>,
    /// Add or override services
    #[arg(long, value_name = "FILE")]
    pub services: Vec<PathBuf>,
    /// Worker threads [default: one for each processor]
    #[arg(short = 'j', long = "jobs", value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// Most flows followed at a time
    #[arg(long, value_name = "N", default_value_t = Count(DEFAULT_MAX_FLOWS))]
    pub max_flows: Count,
    /// Most memory for flows and packets, e.g. 512M or 2G
    #[arg(long, value_name = "SIZE", default_value_t = Size(DEFAULT_MAX_MEMORY))]
    pub max_memory: Size,
    /// Exit with 1 if a finding has at least this grade
    #[arg(long, value_name = "GRADE")]
    pub fail_on: Option<FailOn>,
    /// Packets a capture may have lost before the run counts as degraded
    #[arg(long, value_name = "PERCENT", default_value_t = Percent::default())]
    pub max_drop: Percent,
    /// Colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Print only how many findings there are
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print more: all facts and the innocent causes weighed
    #[arg(short, long)]
    pub verbose: bool,
    /// Also show findings about ways around blocking
    #[arg(long)]
    pub show_circumvention: bool,
}

/// An address or a prefix.
fn front(text: &str) -> Result<IpNet, String> {
    let one = || text.parse::<std::net::IpAddr>().map(IpNet::from);
    text.parse::<IpNet>().map(|n| n.trunc()).or_else(|_| one()).map_err(|_| "an address or a prefix, e.g. 192.0.2.7 or 192.0.2.0/24".into())
}

impl From<&PairArgs> for AnalyzeArgs {
    /// The analysis of both captures, by the same options.
    fn from(p: &PairArgs) -> Self {
        Self {
            inputs: vec![p.a.clone(), p.b.clone()],
            json: p.json,
            out: p.out.clone(),
            services: p.services.clone(),
            jobs: p.jobs,
            max_flows: p.max_flows,
            max_memory: p.max_memory,
            fail_on: p.fail_on,
            max_drop: p.max_drop,
            color: p.color,
            quiet: p.quiet,
            verbose: p.verbose,
            show_circumvention: p.show_circumvention,
            fronts: Fronts(PerTap { a: p.a_has.clone(), b: p.b_has.clone() }),
            ..Self::default()
        }
    }
}

/// Arguments of `verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Directories that hold cases (a case.toml beside its capture), at any depth
    #[arg(value_name = "DIR", required = true)]
    pub dirs: Vec<PathBuf>,
    /// Rewrite the want.jsonl of cases that have one, or ask for one with `want = true`
    #[arg(long)]
    pub update: bool,
    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Print GitHub annotations
    #[arg(long)]
    pub github: bool,
    /// Worker threads [default: one for each processor]
    #[arg(short = 'j', long = "jobs", value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
    /// Print only failures
    #[arg(short, long)]
    pub quiet: bool,
}

/// Arguments of `slice`.
#[derive(Args, Debug)]
pub struct SliceArgs {
    /// The capture; it is read twice, so it must be a file
    #[arg(value_name = "FILE")]
    pub input: PathBuf,
    /// Id of a finding, or its beginning; may be given several times
    #[arg(long, value_name = "ID", required = true)]
    pub finding: Vec<String>,
    /// Where to write (pcapng), or - for standard output
    #[arg(short, long, value_name = "OUT", required = true)]
    pub output: PathBuf,
    /// Leave out the connections the finding was compared with
    #[arg(long)]
    pub without_controls: bool,
    /// Add or override services, as in the run that gave the id
    #[arg(long, value_name = "FILE")]
    pub services: Vec<PathBuf>,
    /// Worker threads [default: one for each processor]
    #[arg(short = 'j', long = "jobs", value_name = "N")]
    pub jobs: Option<std::num::NonZeroUsize>,
}

/// Arguments of `explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// A rule such as tcp.rst.injected, or a kind such as rst_injection
    #[arg(value_name = "RULE")]
    pub rule: String,
}

/// Arguments of `rules`.
#[derive(Args, Debug)]
pub struct RulesArgs {
    /// `check`
    #[command(subcommand)]
    pub command: Option<RulesCommand>,
    /// Add or override services
    #[arg(long, value_name = "FILE")]
    pub services: Vec<PathBuf>,
}

/// Commands of `rules`.
#[derive(Subcommand, Debug)]
pub enum RulesCommand {
    /// Check service files: unknown keys, ranges claimed twice, rules that match nothing
    Check {
        /// Service files; without any, those that come with the program
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// When to use colours.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// On a terminal that can, unless the environment says otherwise
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Grades for `--fail-on`.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailOn {
    /// A pattern without a control
    Possible,
    /// Independent facts agree and no innocent cause stands
    Likely,
    /// A fact that no conforming stack or path produces, or a significant difference against a control
    Confirmed,
}

impl From<FailOn> for Grade {
    fn from(f: FailOn) -> Self {
        match f {
            FailOn::Possible => Self::Possible,
            FailOn::Likely => Self::Likely,
            FailOn::Confirmed => Self::Confirmed,
        }
    }
}

/// A count above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(pub usize);

impl Default for Count {
    fn default() -> Self {
        Self(DEFAULT_MAX_FLOWS)
    }
}

impl FromStr for Count {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.replace('_', "").parse() {
            Ok(0) => Err("must be at least 1".into()),
            Ok(n) => Ok(Self(n)),
            Err(_) => Err("is not a whole number".into()),
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A size in bytes, typed with an optional binary unit: `64K`, `128M`, `2G`, `1T`, also `2GiB` or `2GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl Default for Size {
    fn default() -> Self {
        Self(DEFAULT_MAX_MEMORY)
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let wrong = || "is not a size such as 512M or 2G".to_owned();
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let shift = match unit.to_ascii_lowercase().trim_end_matches('b').trim_end_matches('i') {
            "" => 0,
            "k" => 10,
            "m" => 20,
            "g" => 30,
            "t" => 40,
            _ => return Err(wrong()),
        };
        match number.checked_mul(1 << shift) {
            Some(0) | None => Err("is out of range".into()),
            Some(bytes) => Ok(Self(bytes)),
        }
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
            if self.0 > 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        self.0.fmt(f)
    }
}

/// A percentage, 0–100, with or without the sign.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percent(pub f64);

impl Default for Percent {
    fn default() -> Self {
        Self(DEFAULT_MAX_DROP * 100.0)
    }
}

impl FromStr for Percent {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim_end_matches('%').trim_end().parse::<f64>() {
            Ok(p) if (0.0..=100.0).contains(&p) => Ok(Self(p)),
            _ => Err("is not a percentage between 0 and 100".into()),
        }
    }
}

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("tamperscope").chain(line.split_whitespace()))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_file_alone_is_analysed() {
        let cli = parse("a.pcap b.pcap --json -j 2 --max-memory 128M").unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.analyze.inputs.len(), 2);
        assert!(cli.analyze.json);
        assert_eq!(cli.analyze.max_memory, Size(128 << 20));
        let Some(Command::Analyze(a)) = parse("analyze -r a.pcap -c 10 -n --fail-on likely -").unwrap().command else { panic!() };
        assert_eq!((a.read.len(), a.inputs.len(), a.count, a.fail_on), (1, 1, Some(10), Some(FailOn::Likely)));
        assert!(parse("-D").unwrap().list_interfaces);
        assert!(parse("-- -odd.pcap").unwrap().analyze.inputs[0].ends_with("-odd.pcap"));
        assert!(parse("./verify").unwrap().command.is_none());
        assert!(parse("").unwrap().analyze.inputs.is_empty());
    }

    #[test]
    fn wrong_words_are_refused() {
        for line in [
            "a.pcap --fail-on maybe",
            "verify",
            "explain",
            "a.pcap -j 0",
            "--max-flows 0 a",
            "-q -v a",
            "completions tcsh1",
            "--max-drop 101 a",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn sizes_and_percentages() {
        for (text, bytes) in [("1", 1), ("64k", 64 << 10), ("128M", 128 << 20), ("2G", 2 << 30), ("2GiB", 2 << 30), ("1TB", 1 << 40)] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "G", "1.5G", "-1", "12X", "0", "99999999999T"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        assert_eq!((Size(2 << 30).to_string(), Size(1500).to_string()), ("2G".into(), "1500".into()));
        assert_eq!("0.5 %".parse(), Ok(Percent(0.5)));
        assert!("NaN".parse::<Percent>().is_err());
    }
}
