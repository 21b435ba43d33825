//! The HTML report of every fixture: read by a tokenizer that follows the standard, and shown by a browser.
#![allow(missing_docs)]

use assert_cmd::cargo::cargo_bin;
use base64::Engine as _;
use html5gum::{Token, Tokenizer};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tamperscope::sink::text;

mod support;

/// Elements that have no end tag.
const VOID: [&str; 1] = ["meta"];
/// Every element the report is made of. Nothing that loads, runs, embeds or submits is among them.
#[rustfmt::skip]
const ELEMENTS: [&str; 47] = [
    "html", "head", "meta", "title", "style", "body", "header", "main", "nav", "section", "article", "footer", "div", "span", "p", "a",
    "b", "bdi", "code", "pre", "h1", "h2", "h3", "h4", "ul", "ol", "li", "dl", "dt", "dd", "table", "caption",
    "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "details", "summary", "svg", "desc", "text", "path", "rect", "circle",
];

fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn report(args: &[&str]) -> String {
    let out = Command::new(cargo_bin!("tamperscope"))
        .args(["-j", "2"])
        .args(args)
        .args(["--json", "--out", "html=/dev/stderr"])
        .output()
        .unwrap();
    String::from_utf8(out.stderr).unwrap()
}

fn case(name: &str) -> String {
    support::cases::input(&support::cases::root().join(name)).to_str().unwrap().to_owned()
}

/// What a tokenizer makes of a page.
#[derive(Default)]
struct Read {
    elements: Vec<String>,
    attributes: Vec<(String, String, String)>,
    text: String,
    wrong: Vec<String>,
}

fn read(page: &str) -> Read {
    let mut read = Read::default();
    let mut open: Vec<String> = Vec::new();
    let name = |n: &[u8]| String::from_utf8(n.to_vec()).unwrap();
    for token in Tokenizer::new(page) {
        match token.unwrap() {
            Token::StartTag(tag) => {
                let element = name(&tag.name);
                for (k, v) in &tag.attributes {
                    read.attributes.push((element.clone(), name(k), name(&v.value)));
                }
                if !VOID.contains(&&*element) && !tag.self_closing {
                    open.push(element.clone());
                }
                read.elements.push(element);
            }
            Token::EndTag(tag) => {
                let closed = name(&tag.name);
                let last = open.pop();
                if last.as_deref() != Some(&*closed) {
                    read.wrong.push(format!("</{closed}> closes {last:?}"));
                }
            }
            Token::String(s) => read.text.push_str(&name(&s.value)),
            Token::Error(e) => read.wrong.push(format!("{:?}", e.value)),
            Token::Comment(_) => read.wrong.push("a comment".into()),
            Token::Doctype(_) => {}
        }
    }
    if !open.is_empty() {
        read.wrong.push(format!("never closed: {open:?}"));
    }
    read
}

/// Holds a page to everything that must be true of any.
fn sound(at: &str, page: &str) {
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("</html>\n"), "{at}: {page:.200}");
    // What follows is the run's own complaint on standard error.
    let page = page.split_inclusive("</html>\n").next().unwrap();
    let read = read(page);
    assert_eq!(read.wrong, Vec::<String>::new(), "{at}");
    for e in &read.elements {
        assert!(ELEMENTS.contains(&&**e), "{at}: <{e}>");
    }
    let mut ids = BTreeSet::new();
    for (element, key, value) in &read.attributes {
        assert!(!key.starts_with("on") && !["src", "srcset", "style", "action", "data"].contains(&&**key), "{at}: <{element} {key}>");
        if key == "id" {
            assert!(ids.insert(value.as_str()), "{at}: two elements are called {value}");
        }
    }
    for (element, key, value) in read.attributes.iter().filter(|(_, k, _)| k == "href" || k == "aria-labelledby") {
        let to = if key == "href" { value.strip_prefix('#') } else { Some(value.as_str()) };
        assert!(to.is_some_and(|to| ids.contains(to)), "{at}: <{element} {key}={value}> leads nowhere");
    }
    assert!(!page.contains("url("), "{at}: the page asks for something");
    assert!(!page.chars().any(|c| c != '\n' && text::treacherous(c)), "{at}");
    assert_eq!(read.elements.iter().filter(|e| *e == "h1").count(), 1, "{at}");
    // Every picture has a name and a description, every table a caption.
    let count = |e: &str| read.elements.iter().filter(|x| *x == e).count();
    assert_eq!(count("svg"), read.attributes.iter().filter(|(e, k, v)| e == "svg" && k == "role" && v == "img").count(), "{at}");
    assert_eq!((count("svg"), count("table")), (count("desc"), count("caption")), "{at}");
    // Every picture comes with its numbers.
    assert_eq!(read.text.matches("Numbers as a table").count(), count("svg"), "{at}");
}

#[test]
fn every_report_is_well_formed_closed_and_harmless() {
    for case in support::cases::all() {
        let page = report(&[support::cases::input(&case).to_str().unwrap()]);
        let at = case.file_name().unwrap().to_str().unwrap();
        if at == "not-a-capture" {
            let said =
                page.contains("Nothing could be analysed.") && page.contains("so nothing can be said") && !page.contains("No interference");
            assert!(said, "{at}: {page}");
        }
        sound(at, &page);
    }
}

/// The report of two captures compared.
fn pair(name: &str, args: &[&str]) -> String {
    let ends = ["a.pcap", "b.pcap"].map(|f| support::cases::root().join(name).join(f));
    let out = Command::new(cargo_bin!("tamperscope")).arg("pair").args(args).args(["--out", "html=-"]).args(ends).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn two_captures_compared_are_told_in_a_report_too() {
    let cases = std::fs::read_dir(support::cases::root()).unwrap().map(|d| d.unwrap().file_name().into_string().unwrap());
    let mut pairs = 0;
    for name in cases.filter(|n| n.starts_with("pair-")) {
        sound(&name, &pair(&name, &[]));
        pairs += 1;
    }
    assert!(pairs > 8, "{pairs}");
    let page = read(&pair("pair-rewritten", &[])).text;
    for part in [
        "1 finding between the two points: 1 confirmed",
        "A packet left one point and arrived at the other as something else",
        "At A: packets between client A and 13.248.3.142:443",
        "At B: packets between client A and 13.248.3.142:443",
        "B alone finds nothing",
        "Open A in Wireshark",
        "Open B in Wireshark",
        "What these two captures cannot show",
        "pair.rewritten",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let page = read(&pair("pair-policed", &[])).text;
    for part in ["Bytes over time at A", "Bytes over time at B", "dashed: ", "From A to B over time", "From B to A over time"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let page = read(&pair("pair-syn-refused", &["--b-has", "149.154.167.6"])).text;
    for part in ["At B: nothing.", "B recorded every packet of 149.154.167.6"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(read(&pair("pair-syn-refused", &[])).text.contains("--b-has 149.154.167.6, if B recorded"));
    let page = read(&pair("pair-unrelated", &[])).text;
    assert!(page.contains("Nothing can be said") && !page.contains("nothing was injected"), "{page}");
}

#[test]
fn the_policy_allows_the_style_sheet_and_nothing_else() {
    let page = report(&[&case("rst-on-path-tls")]);
    let css = page.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(css.as_bytes()));
    let policy = format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'");
    assert!(read(&page).attributes.iter().any(|(e, k, v)| e == "meta" && k == "content" && *v == policy), "{policy}");
    assert_eq!(page.matches("<style>").count(), 1);
}

#[test]
fn hostile_names_are_text() {
    let page = read(&report(&[&case("hostile-names")]));
    assert!(!page.elements.iter().any(|e| e == "img" || e == "script"), "{:?}", page.elements);
    for name in [
        "<img src=x onerror=document.title=1>.example",
        "\"></text><script>document.title=1</script>.example",
        "&lt;b&gt;\\u{202e}elpmaxe\\u{2066}.example",
        "</style><style>*{display:none}.example",
    ] {
        assert!(page.text.contains(name), "{name}");
    }
}

#[test]
fn a_report_says_what_its_finding_rests_on() {
    let page = read(&report(&[&case("rst-on-path-tls")])).text;
    for part in [
        "2 findings: 1 confirmed, 1 possible.",
        "Injected connection reset – Telegram web (web.telegram.org)",
        "A TCP reset on this connection was not sent by the endpoint whose address it carries.",
        "Packets between client A and 149.154.167.99:443",
        "◆ 42",
        "the reset's TTL differs from the sender's other packets",
        "Resets beside the server's own packets",
        "frame.number in {40, 42, 50, 102, 104, 107}",
        "the same connection captured at the other end",
        "What the capture must have",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn pictures_come_with_the_data_for_them() {
    for (name, picture) in [
        ("throttle-policed", "Bytes over time"),
        ("throttle-policed", "dashed: "),
        ("throttle-policed", "Goodput against other traffic"),
        ("media-cut", "Legs of calls"),
        // What was answered and then cut off did not go well.
        ("media-cut", "(answered)"),
        ("freeze-16k", "Bytes at death"),
        ("rst-on-path-tls", "Resets beside the server's own packets"),
        ("clean-messengers", "Connections over time, by outcome"),
    ] {
        assert!(read(&report(&[&case(name)])).text.contains(picture), "{name}: {picture}");
    }
    let clean = read(&report(&[&case("clean-messengers")])).text;
    for picture in ["Bytes over time", "Legs of calls", "Bytes at death", "Packets between"] {
        assert!(!clean.contains(picture), "{picture}");
    }
}

#[test]
fn clients_and_ways_around_are_shown_only_on_request() {
    let page = |args: &[&str]| {
        let mut all = args.to_vec();
        let input = case("shape-wireguard");
        all.push(&input);
        report(&all)
    };
    let shy = page(&[]);
    assert!(!shy.contains("WireGuard") && shy.contains("--show-circumvention"), "{shy}");
    assert!(page(&["--show-circumvention"]).contains("WireGuard"));
    let input = case("rst-on-path-tls");
    assert!(!report(&[&input]).contains("192.168.1.23"));
    assert!(report(&["-v", &input]).contains("192.168.1.23"));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let dir = support::cases::root();
    let written = |jobs: &str| {
        let path = scratch("report-threads").join(jobs);
        let out = format!("html={}", path.display());
        let run = Command::new(cargo_bin!("tamperscope")).args(["-q", "-j", jobs, "--out", &out]).arg(&dir).output().unwrap();
        assert!(run.status.code().is_some_and(|c| c == 0 || c == 4), "{run:?}");
        std::fs::read_to_string(path).unwrap()
    };
    let one = written("1");
    assert!(one == written("5"), "another page with more threads");
    // Many captures: a page each for the findings, a name that tells the captures apart.
    assert!(one.contains("In <bdi>rst-on-path-tls/in.pcap</bdi>"), "captures cannot be told apart");
    assert!(one.len() < 4 << 20, "{} bytes", one.len());
}

#[test]
fn the_picture_in_the_readme_is_small() {
    let picture = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/report.png")).unwrap();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() < 250_000, "{} bytes", picture.len());
}

/// Shows a page in Chromium; `None`, said aloud, where there is none.
fn browse(name: &str, page: &str) -> Option<Output> {
    let out = chromium(name, page, &["--dump-dom"])?;
    assert!(!out.stdout.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    Some(out)
}

/// How many pages a page is printed on.
fn sheets(name: &str, page: &str) -> Option<usize> {
    let to = scratch("report-print").join(format!("{name}.pdf"));
    chromium(name, page, &["--no-pdf-header-footer", &format!("--print-to-pdf={}", to.display())])?;
    let pdf = std::fs::read(to).unwrap();
    let of = |mark: &[u8]| pdf.windows(mark.len()).filter(|w| *w == mark).count();
    Some(of(b"/Type /Page") - of(b"/Type /Pages"))
}

#[test]
fn the_numbers_behind_the_pictures_are_printed_too() {
    let page = report(&[&case("rst-on-path-tls")]);
    let Some(all) = sheets("whole", &page) else { return };
    let mut without = String::new();
    let mut rest = page.as_str();
    while let Some((before, after)) = rest.split_once("<details>") {
        without.push_str(before);
        rest = after.split_once("</details>").unwrap().1;
    }
    without.push_str(rest);
    let few = sheets("without", &without).unwrap();
    assert!(all > few, "{all} sheets with the tables and {few} without");
}

/// Runs Chromium on a page.
fn chromium(name: &str, page: &str, args: &[&str]) -> Option<Output> {
    let browser = ["chromium", "chromium-browser", "google-chrome"]
        .iter()
        .find(|b| Command::new(b).arg("--version").output().is_ok_and(|o| o.status.success()));
    let Some(browser) = browser else {
        println!("SKIPPED: no Chromium here, so no browser has shown the report (apt-get install chromium)");
        return None;
    };
    let dir = scratch("report-browser");
    let path = dir.join(format!("{name}.html"));
    std::fs::write(&path, page).unwrap();
    let profile = format!("--user-data-dir={}", dir.join(format!("profile-{name}")).display());
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=2000", &profile]);
    let out = command.args(args).arg(format!("file://{}", path.display())).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Some(out)
}

fn console(out: &Output) -> Vec<String> {
    String::from_utf8_lossy(&out.stderr).lines().filter(|l| l.contains(":CONSOLE")).map(str::to_owned).collect()
}

#[test]
fn a_browser_shows_it_without_a_word_on_the_console() {
    let all = ["hostile-names", "rst-on-path-tls", "throttle-policed", "media-cut"].map(|name| (name, report(&[&case(name)])));
    for (name, page) in all.into_iter().chain([("pair-rewritten", pair("pair-rewritten", &[]))]) {
        let Some(out) = browse(name, &page) else { return };
        assert_eq!(console(&out), Vec::<String>::new(), "{name}");
        let dom = String::from_utf8(out.stdout).unwrap();
        assert!(dom.contains("<title>") && dom.contains("</footer>"), "{name}: {dom:.300}");
        // The browser built the elements that were written, and no others.
        let (wrote, built) = (read(&page), read(&dom));
        assert_eq!(built.elements, wrote.elements, "{name}");
    }
    // A browser that says nothing whatever happens would prove nothing.
    let page = report(&[&case("empty")])
        .replace("<main>", "<main><p style=\"color:red\"><img src=\"http://192.0.2.1/a.png\"><script>document.title=1</script>");
    let out = browse("broken", &page).unwrap();
    assert!(console(&out).len() >= 3, "{:?}", console(&out));
    assert!(!String::from_utf8(out.stdout).unwrap().contains("<title>1</title>"), "a script ran");
}
