//! Opening the sockets: what libpcap is asked for, what its answers mean, and how several sockets share an interface.

use super::meter::Meter;
use super::{LiveError, Options};
use crate::model::frame::LinkType;
use std::sync::atomic::Ordering;

/// How long the kernel may keep packets back to hand over several at once (ms).
const KERNEL_WAIT: i32 = 20;

pub(super) type Handle = pcap::Capture<pcap::Active>;

/// A socket that is open and not yet read.
pub(super) struct Tap {
    /// Index of the interface.
    pub interface: usize,
    pub handle: Handle,
    pub link: LinkType,
}

impl Tap {
    /// Opens a socket on an interface, with what libpcap warned about in words.
    ///
    /// # Errors
    /// [`LiveError`].
    pub(super) fn open(interface: usize, name: &str, options: &Options) -> Result<(Self, Vec<String>), LiveError> {
        let (handle, notices) = activate(name, options)?;
        if options.sockets > 1 {
            fanout::join(&handle, interface).map_err(|cause| LiveError::Other { interface: name.to_owned(), cause })?;
        }
        let link = LinkType(u16::try_from(handle.get_datalink().0).unwrap_or(u16::MAX));
        Ok((Self { interface, handle, link }, notices))
    }

    /// Makes its link type known; says so when frames of that kind cannot be read.
    pub(super) fn announce(&self, name: &str, meter: &Meter) {
        if let Some(g) = meter.gauge(self.interface) {
            g.link_type.store(self.link.0, Ordering::Relaxed);
        }
        if !KNOWN_LINKS.contains(&self.link) {
            meter.notice(format!("{name}: link type {} is not one whose frames can be read", self.link.0));
        }
    }
}

/// Link types the analysis reads.
const KNOWN_LINKS: &[LinkType] = &[
    LinkType::NULL,
    LinkType::ETHERNET,
    LinkType::PPP,
    LinkType::RAW_BSD,
    LinkType::RAW_OPENBSD,
    LinkType::PPP_HDLC,
    LinkType::PPP_ETHER,
    LinkType::RAW,
    LinkType::IEEE802_11,
    LinkType::LOOP,
    LinkType::LINUX_SLL,
    LinkType::IEEE802_11_RADIOTAP,
    LinkType::IPV4,
    LinkType::IPV6,
    LinkType::NFLOG,
    LinkType::LINUX_SLL2,
];

/// Opens one socket. What libpcap only warns about (the `pcap` crate makes errors of it) is tried again without, and said.
fn activate(name: &str, o: &Options) -> Result<(Handle, Vec<String>), LiveError> {
    let mut notices = Vec::new();
    let attempt = |promiscuous: bool, nanoseconds: bool| {
        let snaplen = i32::try_from(o.snaplen).unwrap_or(i32::MAX);
        let buffer = i32::try_from(o.buffer).unwrap_or(i32::MAX);
        let precision = if nanoseconds { pcap::Precision::Nano } else { pcap::Precision::Micro };
        pcap::Capture::from_device(name)?
            .snaplen(snaplen)
            .buffer_size(buffer)
            .immediate_mode(o.immediate)
            .timeout(KERNEL_WAIT)
            .precision(precision)
            .promisc(promiscuous)
            .open()
    };
    // libpcap says of `any` only in passing that it has no such mode.
    let promiscuous = o.promiscuous && name != "any";
    if o.promiscuous && !promiscuous {
        notices.push(format!("{name}: not in promiscuous mode: it knows none"));
    }
    let opened = match attempt(promiscuous, true) {
        Err(e) if promiscuous && !is_fatal(&e) => {
            let plain = attempt(false, true);
            if plain.is_ok() {
                notices.push(format!("{name}: not in promiscuous mode ({e})"));
            }
            plain
        }
        other => other,
    };
    let mut handle = opened.map_err(|e| sort(name, &e))?;
    if name == "any" {
        // The newer header tells the interfaces apart; older libpcaps keep the old one.
        let _ = handle.set_datalink(pcap::Linktype(i32::from(LinkType::LINUX_SLL2.0)));
    }
    let mut handle = handle.setnonblock().map_err(|e| sort(name, &e))?;
    if let Some(filter) = &o.filter {
        handle.filter(filter, true).map_err(|e| LiveError::Filter { interface: name.into(), cause: e.to_string() })?;
    }
    Ok((handle, notices))
}

fn is_fatal(e: &pcap::Error) -> bool {
    let text = e.to_string().to_ascii_lowercase();
    ["permission", "permitted", "no such device", "exist"].iter().any(|w| text.contains(w))
}

fn sort(name: &str, e: &pcap::Error) -> LiveError {
    let cause = e.to_string();
    let text = cause.to_ascii_lowercase();
    let interface = name.to_owned();
    if text.contains("permission") || text.contains("permitted") {
        LiveError::Permission { interface, cause }
    } else if text.contains("no such device") || text.contains("exist") {
        LiveError::Missing { interface, cause }
    } else {
        LiveError::Other { interface, cause }
    }
}

/// Several sockets on one interface, each with its share of the flows.
#[cfg(target_os = "linux")]
mod fanout {
    use nix::sys::socket::setsockopt;
    use nix::{libc, setsockopt_impl, sockopt_impl};

    /// `PACKET_FANOUT_HASH`: both directions of a flow go to one socket; with `PACKET_FANOUT_FLAG_DEFRAG`: fragments too (packet(7)).
    const MODE: u32 = 0x8000;

    sockopt_impl!(
        /// Joins a fan-out group.
        Fanout,
        SetOnly,
        libc::SOL_PACKET,
        libc::PACKET_FANOUT,
        u32
    );

    /// Joins the group of this process and interface.
    pub(super) fn join(handle: &super::Handle, interface: usize) -> Result<(), String> {
        let group = (std::process::id() as usize).wrapping_mul(31).wrapping_add(interface) as u16;
        let value = u32::from(group) | (MODE << 16);
        setsockopt(handle, Fanout, &value)
            .map_err(|e| format!("packets cannot be shared between several sockets here ({e}); leave out --capture-threads"))
    }
}

#[cfg(not(target_os = "linux"))]
mod fanout {
    pub(super) fn join(_: &super::Handle, _: usize) -> Result<(), String> {
        Err("packets can be shared between several sockets on Linux only; leave out --capture-threads".into())
    }
}
