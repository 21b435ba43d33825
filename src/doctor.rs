//! What can be captured on this machine, and the command that fixes what cannot. Opens nothing: it lists interfaces and reads its own capabilities.

use std::fmt::Write;

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
    page(rights(&status), &interfaces())
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
    use tamperscope::sink::text::shown;
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
        out.push_str(shown(line.trim_end(), false).as_str());
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
    fn the_page_names_the_command_that_helps_only_when_it_helps() {
        let list = Ok("  1 eth0\n".to_owned());
        assert!(page(Rights::None, &list).contains(FIX));
        assert!(!page(Rights::Capture { root: false }, &list).contains(FIX));
        assert!(!page(Rights::None, &Err("no libpcap".into())).contains(FIX));
    }
}
