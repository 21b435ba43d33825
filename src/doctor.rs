//! What can be captured on this machine, and the command that fixes what cannot. Opens nothing: it lists interfaces and reads its own capabilities.

use clap::CommandFactory;
use std::fmt::Write;
use std::path::Path;
use tamperscope::sink::text;

/// Bit of `CAP_NET_RAW` in capability sets (capabilities(7)).
const CAP_NET_RAW: u32 = 13;
/// The command that lets an ordinary user capture with this program.
pub const FIX: &str = "sudo setcap cap_net_raw=ep $(command -v tamperscope)";

/// What this process may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rights {
    /// Capturing is allowed; because of user id 0 or of the capability.
    Capture {
        /// The user is root.
        root: bool,
    },
    /// It is not.
    None,
    /// The system does not say (no `/proc`).
    Unknown,
}

/// Reads the rights out of the text of `/proc/self/status`.
fn rights(status: &str) -> Rights {
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let effective = field("CapEff").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    // Real, effective, saved, file system.
    let root = field("Uid").and_then(|ids| ids.split_whitespace().nth(1)) == Some("0");
    match effective {
        Some(caps) if caps >> CAP_NET_RAW & 1 == 1 => Rights::Capture { root },
        Some(_) => Rights::None,
        None => Rights::Unknown,
    }
}

/// The page of `tamperscope doctor`.
pub fn report() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut out = page(rights(&status), &interfaces());
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let maps = read("/proc/self/maps").unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease").map_or_else(|| "not told".into(), |v| v.trim().to_owned());
    let _ = write!(out, "\nKernel              {kernel}\nlibpcap             {}\n", libpcap(&maps));
    if let Some((size, sockets)) = ring() {
        let _ =
            writeln!(out, "Ring                {size} for each of {sockets} socket(s) an interface (live -B SIZE, --capture-threads N)");
    }
    let devices = devices(Path::new("/sys/class/net"), |name| ethtool(&["-k", name]).map(|text| features(&text)));
    let rings =
        std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten().filter_map(|e| card_ring(&e.file_name().to_string_lossy()));
    let mut rings: Vec<String> = rings.collect();
    rings.sort();
    if !devices.is_empty() {
        out.push_str("\nBelow capture       (frames lost before any socket could see them)\n");
        out.push_str(&devices);
        rings.iter().for_each(|line| out.push_str(line));
        out.push_str(
            "Frames larger than the MTU come from offloads, which join packets before they are captured; they are recognised and counted as\n\
             what they are. `ethtool -K IFACE gro off` turns one off, `ethtool -G IFACE rx N` enlarges a card's own ring.\n",
        );
        if ethtool(&["--version"]).is_none() {
            out.push_str("There is no `ethtool` here: which offloads are on is not known.\n");
        }
    }
    out
}

/// Which libpcap is in use, by the name of the library that is loaded (proc_pid_maps(5)).
fn libpcap(maps: &str) -> String {
    let file = maps
        .lines()
        .filter_map(|l| l.split_whitespace().nth(5))
        .find(|path| path.rsplit('/').next().is_some_and(|n| n.starts_with("libpcap")));
    match file.map(|path| (path, path.rsplit_once(".so.").map(|(_, version)| version))) {
        Some((path, Some(version))) => format!("{version} ({path})"),
        Some((path, None)) => path.to_owned(),
        None if cfg!(feature = "live") => "part of this program, or not told".into(),
        None => "none: built without the feature `live`".into(),
    }
}

/// The kernel's ring and the number of sockets that `live` asks for unless told otherwise.
fn ring() -> Option<(String, String)> {
    let command = tamperscope::cli::Cli::command();
    let live = command.find_subcommand("live")?;
    let default = |id: &str| live.get_arguments().find(|a| a.get_id() == id)?.get_default_values().first()?.to_str().map(str::to_owned);
    Some((default("buffer")?, default("capture_threads")?))
}

/// A line for each interface: MTU, queues, and what was lost below the sockets since it came up (sysfs-class-net-statistics).
fn devices(class: &Path, offloads: impl Fn(&str) -> Option<String>) -> String {
    let mut names: Vec<_> = std::fs::read_dir(class).into_iter().flatten().flatten().map(|e| e.file_name()).collect();
    names.sort();
    let mut out = String::new();
    for name in names {
        let at = class.join(&name);
        let number = |path: &str| std::fs::read_to_string(at.join(path)).ok().and_then(|t| t.trim().parse::<u64>().ok());
        let Some(mtu) = number("mtu") else { continue };
        let queues = std::fs::read_dir(at.join("queues")).into_iter().flatten().flatten();
        let queues = queues.filter(|e| e.file_name().to_string_lossy().starts_with("rx-")).count();
        let lost = ["rx_dropped", "rx_missed_errors", "rx_fifo_errors"]
            .map(|what| (what, number(&format!("statistics/{what}")).unwrap_or(0)))
            .into_iter()
            .map(|(what, n)| format!("{what} {n}"));
        let lost = lost.collect::<Vec<_>>().join(", ");
        let line = format!("    {:<16} mtu {mtu}, receive queues {queues}, {lost}", name.to_string_lossy());
        out.push_str(text::shown(&line, false).as_str());
        out.push('\n');
        if let Some(on) = offloads(&name.to_string_lossy()) {
            out.push_str(text::shown(&format!("    {:<16} offloads: {on}", ""), false).as_str());
            out.push('\n');
        }
    }
    out
}

/// What `ethtool` says, where it is installed: the kernel tells these things to nobody who does not ask by ioctl or netlink.
fn ethtool(args: &[&str]) -> Option<String> {
    let out = ["ethtool", "/usr/sbin/ethtool", "/sbin/ethtool"]
        .iter()
        .find_map(|program| std::process::Command::new(program).args(args).stderr(std::process::Stdio::null()).output().ok())?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Of `ethtool -k`: the features that join or cut packets and are on.
fn features(text: &str) -> String {
    const JOIN: [(&str, &str); 5] = [
        ("generic-receive-offload", "gro"),
        ("large-receive-offload", "lro"),
        ("rx-gro-hw", "gro-hw"),
        ("tcp-segmentation-offload", "tso"),
        ("generic-segmentation-offload", "gso"),
    ];
    let on = |long: &str| {
        text.lines().any(|l| l.trim().strip_prefix(long).and_then(|r| r.strip_prefix(": ")).is_some_and(|v| v.starts_with("on")))
    };
    let list: Vec<&str> = JOIN.iter().filter(|(long, _)| on(long)).map(|(_, short)| *short).collect();
    if list.is_empty() { "none that join packets".to_owned() } else { list.join(", ") }
}

/// Of `ethtool -g`: a line with the size of the card's own receive ring, now and at most. Virtual interfaces have none.
fn card_ring(name: &str) -> Option<String> {
    let text = ethtool(&["-g", name])?;
    let (most, now) = ring_of(&text)?;
    let shown = text::shown(name, false);
    Some(format!("    {shown:<16} ring of the card: {now} of at most {most} frames\n"))
}

/// The two values after `RX:`: at most, and now.
fn ring_of(text: &str) -> Option<(u64, u64)> {
    let mut values = text.lines().filter_map(|l| l.strip_prefix("RX:")?.trim().parse::<u64>().ok());
    Some((values.next()?, values.next()?))
}

fn page(rights: Rights, interfaces: &Result<String, String>) -> String {
    let mut out = format!("tamperscope {}\n\n", env!("CARGO_PKG_VERSION"));
    out.push_str("Captured files      can be analysed (needs no rights)\n");
    out.push_str("Interfaces          ");
    out.push_str(match (interfaces, rights) {
        (Err(_), _) => "cannot be listed\n",
        (Ok(_), Rights::Capture { root: true }) => "can be captured (you are root; cap_net_raw alone would do)\n",
        (Ok(_), Rights::Capture { root: false }) => "can be captured (cap_net_raw)\n",
        (Ok(_), Rights::None) => "cannot be captured: this process lacks cap_net_raw\n",
        (Ok(_), Rights::Unknown) => "may need rights that this system does not let us look up\n",
    });
    match interfaces {
        Err(why) => {
            let _ = writeln!(out, "                    {why}");
        }
        Ok(list) => {
            out.push('\n');
            out.push_str(list);
        }
    }
    if rights == Rights::None && interfaces.is_ok() {
        let _ = write!(
            out,
            "\nTo capture without being root, give the program that one right:\n\n  {FIX}\n\n\
             It is lost when the file is replaced (updates, copies), and file systems mounted nosuid ignore it.\n\
             Without it: sudo tcpdump -i any -w - | tamperscope -\n"
        );
    }
    out
}

/// One line for each interface.
///
/// # Errors
/// Why they cannot be listed.
#[cfg(feature = "live")]
pub fn interfaces() -> Result<String, String> {
    let devices = pcap::Device::list().map_err(|e| e.to_string())?;
    if devices.is_empty() {
        return Err("libpcap sees no interface here".into());
    }
    let mut out = String::new();
    for (i, d) in devices.iter().enumerate() {
        let mut facts = Vec::new();
        for (is, word) in [(d.flags.is_loopback(), "loopback"), (d.flags.is_wireless(), "wireless"), (!d.flags.is_up(), "down")] {
            if is {
                facts.push(word.to_owned());
            }
        }
        facts.extend(d.addresses.iter().map(|a| a.addr.to_string()));
        facts.extend(d.desc.clone());
        let line = format!("{:>3} {:<16} {}", i + 1, d.name, facts.join(", "));
        out.push_str(text::shown(line.trim_end(), false).as_str());
        out.push('\n');
    }
    Ok(out)
}

/// One line for each interface.
///
/// # Errors
/// Always: this program was built without libpcap.
#[cfg(not(feature = "live"))]
pub fn interfaces() -> Result<String, String> {
    Err("this program was built without the feature `live`; it analyses files only".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_from_the_status_file() {
        let status = |uid: u32, caps: &str| format!("Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapEff:\t{caps}\n");
        assert_eq!(rights(&status(0, "000001ffffffffff")), Rights::Capture { root: true });
        assert_eq!(rights(&status(1000, "0000000000002000")), Rights::Capture { root: false });
        assert_eq!(rights(&status(1000, "0000000000000000")), Rights::None);
        assert_eq!(rights(&status(0, "0000000000001000")), Rights::None, "root in a container without the capability");
        assert_eq!(rights(""), Rights::Unknown);
    }

    #[test]
    fn libpcap_is_known_by_the_file_that_is_loaded() {
        let maps = "7f00-7f01 r-xp 00000000 08:01 1  /usr/lib/libc.so.6\n7f02-7f03 r-xp 00000000 08:01 2  /usr/lib/x86_64-linux-gnu/libpcap.so.1.10.3\n";
        assert_eq!(libpcap(maps), "1.10.3 (/usr/lib/x86_64-linux-gnu/libpcap.so.1.10.3)");
        assert!(!libpcap("").contains(".so"));
    }

    #[test]
    fn offloads_and_rings_are_read_from_what_ethtool_says() {
        let said = "Features for eth0:\nrx-checksumming: on\ntcp-segmentation-offload: off\n\ttx-tcp-segmentation: on\n\
                    generic-receive-offload: on\nlarge-receive-offload: off [fixed]\nrx-gro-hw: off [fixed]\n";
        assert_eq!(features(said), "gro");
        assert_eq!(features("Features for lo:\n"), "none that join packets");
        let said = "Ring parameters for eth0:\nPre-set maximums:\nRX:\t\t4096\nTX:\t\t4096\nCurrent hardware settings:\nRX:\t\t512\nRX Mini:\tn/a\n";
        assert_eq!(ring_of(said), Some((4096, 512)));
        assert_eq!(ring_of("netlink error: Operation not supported\n"), None);
    }

    #[test]
    fn the_ring_is_that_of_the_command_line() {
        assert_eq!(ring(), Some(("16M".to_owned(), "1".to_owned())));
    }

    #[test]
    fn devices_say_what_they_lost() {
        let root = std::env::temp_dir().join(format!("tamperscope-doctor-{}", std::process::id()));
        let one = root.join("eth0");
        for dir in ["statistics", "queues/rx-0", "queues/rx-1", "queues/tx-0"] {
            std::fs::create_dir_all(one.join(dir)).unwrap();
        }
        std::fs::create_dir_all(root.join("bonding_masters")).unwrap();
        std::fs::write(one.join("mtu"), "1500\n").unwrap();
        std::fs::write(one.join("statistics/rx_dropped"), "7\n").unwrap();
        let line = "    eth0             mtu 1500, receive queues 2, rx_dropped 7, rx_missed_errors 0, rx_fifo_errors 0\n";
        assert_eq!(devices(&root, |_| None), line);
        let with = devices(&root, |name| (name == "eth0").then(|| "gro".into()));
        assert_eq!(with, format!("{line}{:21}offloads: gro\n", ""));
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn the_page_names_the_command_that_helps_only_when_it_helps() {
        let list = Ok("  1 eth0\n".to_owned());
        assert!(page(Rights::None, &list).contains(FIX));
        assert!(!page(Rights::Capture { root: false }, &list).contains(FIX));
        assert!(!page(Rights::None, &Err("no libpcap".into())).contains(FIX));
    }
}
